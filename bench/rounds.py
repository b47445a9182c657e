"""Rounds of one delta and every peer's step: who publishes the same change at what cost.

``python -m bench.rounds --rounds 3 50000 200000`` measures the peers alone. All peers see the
same directory after the same deltas, one after the other, on one server.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bench.data import Added, DeltaWriter, cached_directory, fresh_copy, size_bytes
from bench.meter import Meter
from bench.peers import Metered, Step, all_peers
from bench.plots import plot_steps
from bench.records import DELTA_RECORDS
from bench.stats import steps_table
from chromaseal.testing.servers import seaweedfs


@dataclass(frozen=True, slots=True)
class Round:
    """A delta and what publishing it took.

    Attributes:
        added: the delta.
        steps: by the peer's name.
    """

    added: Added
    steps: dict[str, Step]


@dataclass(frozen=True, slots=True)
class Measured:
    """All rounds over one directory.

    Attributes:
        records: how many the directory had at first.
        size_bytes: of the directory at first.
        first: storing it for the first time, by the peer's name.
        rounds: in order.
    """

    records: int
    size_bytes: int
    first: dict[str, Step]
    rounds: tuple[Round, ...]

    def steps(self, *, flushed: bool | None = None) -> dict[str, list[Step]]:
        """Give every peer's steps.

        Args:
            flushed: of rounds with an index flush, or without; None for all.
        """
        chosen = [r for r in self.rounds if flushed is None or r.added.flushed == flushed]
        return {name: [r.steps[name] for r in chosen] for name in self.first}

    @property
    def own_bytes(self) -> float:
        """Give the mean size of a delta's records."""
        return fmean(r.added.own_bytes for r in self.rounds)


def run_rounds(
    peers: Sequence[Metered],
    directory: Path,
    writer: DeltaWriter,
    *,
    records: int,
    rounds: int,
    delta_records: int = DELTA_RECORDS,
) -> Measured:
    """Store a directory with every peer, then grow and publish it round by round.

    Args:
        peers: each behind a meter.
        directory: holds the records number 0 up to ``records``; grows.
        writer: merges the deltas.
        records: how many the directory has.
        rounds: how many deltas.
        delta_records: records of a delta; more than 1,000 make every round one with a flush.
    """
    started_with = size_bytes(directory)
    first = {each.peer.name: each.prepare(directory) for each in peers}
    done = []
    for number in range(rounds):
        added = writer.add(directory, records + number * delta_records, delta_records)
        # Another one goes first each time, so that none always finds the files fresh.
        turn = number % len(peers)
        order = [*peers[turn:], *peers[:turn]]
        done.append(Round(added, {each.peer.name: each.step(directory) for each in order}))
    return Measured(records, started_with, first, tuple(done))


def main() -> None:
    """Measure the peers over directories of the given numbers of records."""
    parser = argparse.ArgumentParser(description="what publishing a delta costs the peers")
    parser.add_argument("records", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delta", type=int, default=DELTA_RECORDS, help="records of a delta")
    parser.add_argument("--plot", type=Path, help="an SVG file to write")
    chosen = parser.parse_args()
    found = {n: _measure_peers(n, chosen.rounds, chosen.delta) for n in chosen.records}
    if chosen.plot:
        plot_steps(chosen.plot, {f"{n:,} records": m.steps() for n, m in found.items()})


def _measure_peers(records: int, rounds: int, delta_records: int) -> Measured:
    cached_directory(records)
    with tempfile.TemporaryDirectory() as name, DeltaWriter() as writer:
        folder = Path(name)
        directory = fresh_copy(records, folder / "directory")
        with seaweedfs(folder / "server") as server, Meter(server) as meter:
            peers = [Metered(peer, meter) for peer in all_peers(meter.server, folder)]
            found = run_rounds(
                *(peers, directory, writer),
                records=records,
                rounds=rounds,
                delta_records=delta_records,
            )
            print(describe(found, [each.peer.version for each in peers]))
    sys.stdout.flush()
    return found


def describe(found: Measured, versions: Sequence[str]) -> str:
    """Write the tables of one directory's rounds."""
    baseline = next(iter(found.first))
    deltas = [r.added for r in found.rounds]
    flushes = sum(added.flushed for added in deltas)
    what = (
        f"{', '.join(dict.fromkeys(versions))}. {len(deltas)} deltas of "
        f"{found.own_bytes / 1e3:,.0f} KB, {flushes} with a flush; merging one took "
        f"{fmean(added.duration_s for added in deltas):.2f} s, which is in nobody's figures."
    )
    lines = [
        f"## {found.records:,} records, {found.size_bytes / 1e6:,.0f} MB",
        what,
        "A changed directory, medians:",
        steps_table(found.steps(), found.own_bytes, baseline),
        "The first time:",
        steps_table({n: [s] for n, s in found.first.items()}, found.own_bytes, baseline),
    ]
    return "\n\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
