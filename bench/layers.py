"""What publishing, fetching and keeping versions costs: ``make bench-layers``.

All peers publish the same deltas in one run, on one SeaweedFS on this machine. What is bounded
is diff + upload + commit; verification, which chromaseal adds and nobody else has, is measured
in a row of its own. Where a hundred or a thousand commits are made in a row, verification is
left out by a stand-in, because its figure is known and it changes no byte that is stored.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.chain import OpenWriter
from bench.data import DeltaWriter, cached_directory, fresh_copy
from bench.fetching import CACHE, NAME, REPETITIONS, changed_pages_table, fetch_table
from bench.meter import Meter
from bench.peers import Metered, Peer, all_peers
from bench.plots import plot_series, plot_steps
from bench.records import DELTA_RECORDS
from bench.rounds import Measured, describe, run_rounds
from bench.stats import in_ms, markdown_table
from chromaseal.composition.engine import open_vault
from chromaseal.metering import CountingStore
from chromaseal.settings import NO_LEDGER, Settings
from chromaseal.snapshot.pack import pack_base
from chromaseal.testing.sandboxes import AnsweringSandbox
from chromaseal.testing.servers import S3Server, seaweedfs
from chromaseal.vault import Vault

RESULTS = Path(__file__).with_name("results")
# Finds every directory sound; see this module's first lines.
UNCHECKED = AnsweringSandbox(lambda *_: {"findings": [], "collections": [], "index_read": False})


class Chromaseal:
    """chromaseal as a peer.

    Args:
        vault: where to.
        name: as tables show it.
    """

    def __init__(self, vault: Vault, name: str) -> None:
        self.vault = vault
        self.name = name
        self.version = f"chromaseal {vault.parts.writer['chromaseal']}"

    def prepare(self, directory: Path) -> None:
        """Publish for the first time."""
        self.publish(directory)

    def publish(self, directory: Path) -> None:
        """Publish the next version."""
        self.vault.push(directory, NAME)


@contextmanager
def vault_on(
    server: S3Server, prefix: str, cache: Path, *, checked: bool
) -> Iterator[tuple[Vault, CountingStore]]:
    """Open a vault of its own, whose requests are counted."""
    store = CountingStore(server.store(prefix))
    settings = Settings(server.url(prefix), NO_LEDGER, cache)
    with open_vault(settings, store=store, sandbox=None if checked else UNCHECKED) as vault:
        yield vault, store


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of a row of them.

    Attributes:
        own_bytes: of the records.
        flushed: whether ChromaDB wrote its index files.
        duration_s: of diff, upload and commit.
        step_bytes: of the diff and the manifest.
        stored_bytes: of all objects, folds and new bases included.
        requests: to the store.
        chain: layers of the version.
        chain_bytes: that a reader without any version fetches.
        base_bytes: that a new base takes; None where it was not made to measure it.
    """

    own_bytes: int
    flushed: bool
    duration_s: float
    step_bytes: int
    stored_bytes: int
    requests: int
    chain: int
    chain_bytes: int
    base_bytes: int | None


def commit_row(
    vault: Vault, store: CountingStore, writer: OpenWriter, target: Path, *, first: int, count: int
) -> list[Commit]:
    """Commit deltas of 60 records, one after the other."""
    done: list[Commit] = []
    for number in range(count):
        added = writer.add(first + number * DELTA_RECORDS)
        before = store.usage
        pushed = vault.push(target, NAME)
        used = store.usage.since(before)
        manifest = pushed.version.manifest
        layer_bytes = sum(layer.size_bytes for layer in manifest.written_here)
        step_bytes = manifest.step.size_bytes if manifest.step else layer_bytes
        # A base is packed to compare with now and then, as it takes long.
        measured = number % 50 == 49
        done.append(
            Commit(
                own_bytes=added.own_bytes,
                flushed=added.flushed,
                duration_s=sum(s for n, s in pushed.durations_s.items() if n != "verify"),
                step_bytes=used.bytes_in - layer_bytes + step_bytes,
                stored_bytes=used.bytes_in,
                requests=used.requests,
                chain=len(manifest.layers),
                chain_bytes=manifest.chain_bytes,
                base_bytes=_base_bytes(vault, target) if measured else None,
            )
        )
        if number % 100 == 99:
            print(f"  {number + 1} of {count} commits", file=sys.stderr)
    return done


def _base_bytes(vault: Vault, directory: Path) -> int:
    from chromaseal.seal.sealed import seal  # noqa: PLC0415 - only some commits are measured

    sealed = seal(directory, open_files=vault.parts.open_files, clock=vault.parts.clock)
    return sum(len(frame.body) + len(frame.digests) for frame in pack_base(sealed))


def row_table(commits: list[Commit]) -> str:
    """Write what a row of commits came to."""
    own = sum(each.own_bytes for each in commits)
    plain = [each for each in commits if not each.flushed]
    cold = [each.chain_bytes / each.base_bytes for each in commits if each.base_bytes]
    rows = [
        ["commits, of them with an index flush", f"{len(commits)}, {len(commits) - len(plain)}"],
        ["records' own bytes", f"{own / len(commits) / 1e3:,.0f} KB a commit"],
        ["a plain commit uploads, median", f"{median(e.step_bytes for e in plain) / 1e6:.3f} MB"],
        ["a plain commit uploads, most", f"{max(e.step_bytes for e in plain) / 1e6:.3f} MB"],
        ["diffs and manifests / own bytes", f"{sum(e.step_bytes for e in commits) / own:.2f}"],
        ["everything written / own bytes", f"{sum(e.stored_bytes for e in commits) / own:.2f}"],
        ["diff + upload + commit, plain, median", in_ms(median(e.duration_s for e in plain))],
        ["diff + upload + commit, all, median", in_ms(median(e.duration_s for e in commits))],
        ["the slowest", in_ms(max(e.duration_s for e in commits))],
        ["requests a commit, mean", f"{sum(e.requests for e in commits) / len(commits):.1f}"],
        ["longest chain", f"{max(each.chain for each in commits)} layers"],
        ["cold read / a new base, most", f"{max(cold):.2f}" if cold else "not measured"],
    ]
    return markdown_table(["what", "how much"], rows)


def measure(records: int, folder: Path, in_a_row: int) -> tuple[Measured, str, list[Commit]]:
    """Measure everything over a directory of that many records."""
    cached_directory(records)
    with seaweedfs(folder / "server") as server:
        found, text = _against_peers(records, folder, server)
        with vault_on(server, "row", folder / CACHE, checked=False) as (vault, store):
            source, target = fresh_copy(records, folder / "source"), folder / "target"
            with OpenWriter(source, target) as writer:
                vault.push(target, NAME)
                commits = commit_row(vault, store, writer, target, first=records, count=in_a_row)
            text += f"\n### {in_a_row} commits in a row\n\n{row_table(commits)}\n"
            text += "\n### Finding what changed\n\n" + changed_pages_table(vault, target) + "\n"
            text += "\n### Fetching\n\n" + fetch_table(vault, store, server, folder)
    return found, text + "\n", commits


def _against_peers(records: int, folder: Path, server: S3Server) -> tuple[Measured, str]:
    directory = fresh_copy(records, folder / "directory")
    with (
        Meter(server) as meter,
        DeltaWriter() as writer,
        vault_on(meter.server, "plain", folder / "plain-cache", checked=False) as (plain, _),
        vault_on(meter.server, "full", folder / "full-cache", checked=True) as (full, _),
    ):
        ours = [
            Chromaseal(plain, "chromaseal: diff, upload, commit"),
            Chromaseal(full, "chromaseal push, verified"),
        ]
        peers: list[Peer] = [*all_peers(meter.server, folder), *ours]
        metered = [Metered(peer, meter) for peer in peers]
        found = run_rounds(metered, directory, writer, records=records, rounds=REPETITIONS)
        text = describe(found, [peer.version for peer in peers])
    shutil.rmtree(directory)
    return found, text


def thousand(folder: Path, count: int) -> tuple[str, list[Commit]]:
    """Commit that many receipts into nothing."""
    with (
        seaweedfs(folder / "server") as server,
        vault_on(server, "row", folder / "cache", checked=False) as (vault, store),
        OpenWriter(folder / "source", folder / "target") as writer,
    ):
        commits = commit_row(vault, store, writer, folder / "target", first=0, count=count)
    return f"## {count} commits of {DELTA_RECORDS} records into nothing\n\n" + row_table(
        commits
    ), commits


def main() -> None:
    """Measure, print, and write tables and plots."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("records", type=int, nargs="*", default=[50_000, 200_000])
    parser.add_argument("--in-a-row", type=int, default=100)
    parser.add_argument("--thousand", type=int, default=1000, help="commits into nothing; 0: none")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    texts, steps, rows = ["# Layers\n\nWritten by `make bench-layers`.\n"], {}, {}
    for records in chosen.records:
        with tempfile.TemporaryDirectory() as name:
            found, text, commits = measure(records, Path(name), chosen.in_a_row)
        print(text, flush=True)
        texts.append(text)
        steps[f"{records:,} records, {found.size_bytes / 1e6:,.0f} MB"] = found.steps()
        rows[str(records)] = commits
    if chosen.thousand:
        with tempfile.TemporaryDirectory() as name:
            text, commits = thousand(Path(name), chosen.thousand)
        print(text, flush=True)
        texts.append(text + "\n")
        rows["nothing"] = commits
    _write(chosen.results, texts, steps, rows)


def _write(
    results: Path, texts: list[str], steps: dict[str, Any], rows: dict[str, list[Commit]]
) -> None:
    results.mkdir(exist_ok=True)
    (results / "layers.md").write_text("\n".join(texts))
    plain = {name: [asdict(commit) for commit in commits] for name, commits in rows.items()}
    (results / "layers.json").write_text(json.dumps(plain, indent=0) + "\n")
    if steps:
        plot_steps(results / "layers.svg", steps, highlight="chromaseal")
    if "nothing" in rows:
        commits = rows["nothing"]
        series: dict[str, list[float]] = {
            "everything written so far / own bytes": _running(commits),
            "cold read / directory's records": [
                c.chain_bytes / (c.own_bytes * (n + 1)) for n, c in enumerate(commits)
            ],
            "layers": [c.chain for c in commits],
        }
        plot_series(
            results / "layers-commits.svg",
            "Commits of 60 records into nothing",
            ("commit", "ratio; layers"),
            series,
        )


def _running(commits: list[Commit]) -> list[float]:
    written = own = 0
    found = []
    for commit in commits:
        written += commit.stored_bytes
        own += commit.own_bytes
        found.append(written / own)
    return found


if __name__ == "__main__":
    main()
