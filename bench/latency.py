"""From a run being written to a reader in another process having it: ``make bench-latency``.

As in a fleet: a vault on an S3 server, a ledger in PostgreSQL, ``chromaseal worker`` and
``chromaseal follow`` as processes of their own. This process writes a receipt's records, waits
until the follower tells of the version that contains them, and writes the next ones after a pause
that is drawn from a seed, so that it falls anywhere between two looks of the follower. With short
pauses everything that a worker and a follower do between two versions, copies made ahead above
all, is in the way of the next one; with long ones it is done by then.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.data import COLLECTION, fresh_copy, size_bytes
from bench.layers import RESULTS
from bench.records import DELTA_RECORDS, DIMENSION, make_records
from bench.stats import markdown_table
from chromaseal.composition.engine import open_vault
from chromaseal.delta.model import Changes
from chromaseal.embedding import ModelPin
from chromaseal.pin import CollectionPin, pin_collection
from chromaseal.settings import Settings
from chromaseal.testing.postgres import postgres
from chromaseal.testing.servers import S3Server, seaweedfs
from chromaseal.vault import Vault

# The bounds are for receipts, one after the other, on two cores.
_BOUNDS_S = {50_000: 1.5, 200_000: 3.0}
# Enough for the log to be flushed to the index twice.
_RUNS = 40
# The first ones meet a worker and a follower that have nothing yet.
_WARM_UP = 3
_INTERVAL_S = 0.2
_LONGEST_PAUSES_S = (1.0, 6.0)
_MODEL = ModelPin("random", "1", "", DIMENSION)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one run took.

    Attributes:
        write_s: until the writer had its acknowledgement.
        follow_s: from the follower's finding the version to its having it.
        latency_s: from before writing to the reader having it.
    """

    write_s: float
    follow_s: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is under measurement.

    Attributes:
        vault: through which runs are written.
        moves: the lines that the follower prints.
        worker_log: the lines that the worker prints.
        size_bytes: of the directory.
    """

    vault: Vault
    moves: IO[str]
    worker_log: Path
    size_bytes: int

    def next_move(self) -> dict[str, Any]:
        """Wait for the follower's next move."""
        for line in self.moves:
            found: dict[str, Any] = json.loads(line)
            if found["event"] == "moved":
                return found
        raise SystemExit("the follower has ended")

    def steps_s(self) -> list[dict[str, float]]:
        """Give the seconds of each compaction, by step."""
        lines = map(json.loads, self.worker_log.read_text().splitlines())
        return [line["durations_s"] for line in lines if line["event"] == "compaction"]


@contextmanager
def _running(
    *command: str, environment: dict[str, str], output: int | IO[str]
) -> Iterator[IO[str] | None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "chromaseal", *command, "--json"],
        env={**os.environ, **environment},
        stdout=output,
        text=True,
    )
    try:
        yield process.stdout
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _fleet(records: int, name: str, server: S3Server, ledger: str, folder: Path) -> Iterator[Fleet]:
    settings = Settings(server.url(name), ledger, folder / "writer")
    shared = server.environment() | {
        "CHROMASEAL_VAULT": settings.vault,
        "CHROMASEAL_LEDGER": ledger,
    }

    def own_cache(whose: str) -> dict[str, str]:
        return shared | {"CHROMASEAL_CACHE": str(folder / whose)}

    with ExitStack() as held:
        vault = held.enter_context(open_vault(settings, store=server.store(name)))
        pin_collection(vault.parts.store, CollectionPin(COLLECTION, DIMENSION, "l2", _MODEL))
        directory = fresh_copy(records, folder / "directory")
        vault.push(directory, COLLECTION)
        log = folder / "worker.log"
        told = held.enter_context(log.open("w"))
        held.enter_context(_running("worker", environment=own_cache("worker"), output=told))
        follow = ("follow", COLLECTION, str(folder / "copy"), "--interval", str(_INTERVAL_S))
        moves = held.enter_context(
            _running(*follow, environment=own_cache("follower"), output=subprocess.PIPE)
        )
        if moves is None:
            raise RuntimeError("the follower was started without a pipe")
        fleet = Fleet(vault, moves, log, size_bytes(directory))
        fleet.next_move()
        yield fleet


def _take(fleet: Fleet, first: int) -> Taken:
    changes = Changes(upserts=tuple(make_records(first, DELTA_RECORDS)))
    start = time.perf_counter()
    fleet.vault.write({COLLECTION: changes}, model=_MODEL)
    write_s = time.perf_counter() - start
    follow_s = fleet.next_move()["duration_s"]
    return Taken(write_s, follow_s, time.perf_counter() - start)


def _measure(
    records: int, runs: int, longest_pause_s: float, server: S3Server, ledger: str
) -> list[str]:
    """Measure one size at one pace; give its row of the table."""
    name = f"latency-{records}-{longest_pause_s:.0f}"
    chance = random.Random(records)  # noqa: S311 - repeatable, not secret
    taken = []
    with (
        tempfile.TemporaryDirectory() as folder,
        _fleet(records, name, server, ledger, Path(folder)) as fleet,
    ):
        for number in range(_WARM_UP + runs):
            time.sleep(chance.uniform(0, longest_pause_s))
            taken.append(_take(fleet, records + number * DELTA_RECORDS))
            print(f"{records:,}: run {number}: {taken[-1].latency_s:.2f} s", flush=True)
        steps_s = fleet.steps_s()[_WARM_UP:]
        megabytes = fleet.size_bytes / 1e6
    described = [f"{records:,}", f"{megabytes:,.0f}", f"{longest_pause_s:.0f}"]
    return described + _figures(_BOUNDS_S.get(records), taken[_WARM_UP:], steps_s)


def _figures(
    bound_s: float | None, taken: list[Taken], steps_s: list[dict[str, float]]
) -> list[str]:
    latencies_s = sorted(each.latency_s for each in taken)
    median_s = {
        name: statistics.median(each.get(name, 0.0) for each in steps_s) for name in steps_s[0]
    }
    steps = ", ".join(f"{name} {step_s:.2f}" for name, step_s in median_s.items())
    write_s = statistics.median(each.write_s for each in taken)
    follow_s = statistics.median(each.follow_s for each in taken)
    return [
        str(len(taken)),
        f"{statistics.median(latencies_s):.2f}",
        "" if bound_s is None else f"{bound_s:.1f}",
        f"{latencies_s[int(0.95 * (len(latencies_s) - 1))]:.2f}",
        f"write {write_s:.2f}, {steps}, follow {follow_s:.2f}",
    ]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="*", help="of the collection")
    parser.add_argument("--runs", type=int, default=_RUNS)
    parser.add_argument("--pauses", type=float, nargs="*", default=_LONGEST_PAUSES_S)
    options = parser.parse_args()
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        seaweedfs(Path(folder)) as server,
        postgres() as database,
    ):
        for records, pause_s in itertools.product(options.records or _BOUNDS_S, options.pauses):
            ledger = database.make_database()
            rows.append(_measure(records, options.runs, pause_s, server, ledger))
            print(" | ".join(rows[-1]), flush=True)
    header = ["records", "MB", "pause up to s", "runs", "median s", "bound", "95 % s"]
    header.append("medians of the steps, s")
    if not options.records:
        RESULTS.mkdir(exist_ok=True)
        said = "Written by `make bench-latency`: from a run being written to a reader having it."
        text = f"# Latency\n\n{said}\n\n{markdown_table(header, rows)}\n"
        (RESULTS / "latency.md").write_text(text)


if __name__ == "__main__":
    main()
