"""Many processes publish to one collection at once: ``make bench-crowd``.

32 processes publish 20 directories each to one collection, each process with a cache of its own
as if it were a machine of its own, so every commit is a race. Afterwards the history must be a
straight line in which each publish is a version, once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.data import COLLECTION, DeltaWriter, make_directory
from bench.layers import RESULTS, UNCHECKED
from bench.stats import markdown_table
from chromaseal.composition.engine import open_vault
from chromaseal.settings import NO_LEDGER, Settings
from chromaseal.testing.servers import S3Server, ministack, seaweedfs
from chromaseal.vault import Vault

_STATES = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where a crowd publishes: a directory of this machine, or a server.

    Attributes:
        name: as tables show it.
        folder: a vault's, for the local store.
        server: for an S3 store.
    """

    name: str
    folder: Path | None
    server: S3Server | None


@contextmanager
def _opened(place: Place, cache: Path) -> Iterator[Vault]:
    store = None if place.server is None else place.server.store("crowd")
    url = place.folder.as_uri() if place.folder else "s3://crowd"
    # What they publish was verified once; what is measured is the fight for the pointer.
    with open_vault(Settings(url, NO_LEDGER, cache), store=store, sandbox=UNCHECKED) as vault:
        yield vault


def _publish(place: Place, states: Path, scratch: Path, number: int, count: int) -> list[str]:
    """Publish ``count`` times, as one of the processes; give the ids of the versions made."""
    ids: list[str] = []
    with _opened(place, scratch / f"cache-{number}") as vault:
        state = number
        while len(ids) < count:
            directory = scratch / f"directory-{number}"
            shutil.rmtree(directory, ignore_errors=True)
            shutil.copytree(states / str(state % _STATES), directory)
            pushed = vault.push(directory, COLLECTION, replace=True)
            # What is the newest content already becomes no version; the next state does.
            if pushed.new:
                ids.append(pushed.version.version_id)
            state += 1
    return ids


def crowd(place: Place, folder: Path, processes: int, count: int) -> list[str]:
    """Let a crowd publish and check what came of it; give a row of the table."""
    states = _states(folder / "states")
    with _opened(place, folder / "first-cache") as vault:
        vault.push(states / "0", COLLECTION)
    # Forked from one process that has imported everything, so that no one's start is measured.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.layers", "bench.data"])
    start = time.perf_counter()
    with context.Pool(processes) as pool:
        jobs = [
            pool.apply_async(_publish, (place, states, folder, number, count))
            for number in range(processes)
        ]
        made = [version_id for job in jobs for version_id in job.get()]
    duration_s = time.perf_counter() - start
    with _opened(place, folder / "last-cache") as vault:
        line = [entry.version for entry in vault.log(COLLECTION)]
        numbers = [version.number for version in line]
        lost = set(made) - {version.version_id for version in line}
        newest = folder / "newest"
        vault.open_copy(COLLECTION, newest)
    expected = processes * count
    if lost or len(set(made)) != expected or numbers != list(range(expected + 1, 0, -1)):
        raise SystemExit(f"{place.name}: {len(made)} made, {len(lost)} lost, history {numbers[:5]}")
    return [
        place.name,
        str(processes),
        str(expected),
        "0",
        f"{duration_s:.0f}",
        f"{expected / duration_s:.1f}",
    ]


def _states(folder: Path) -> Path:
    if not folder.exists():
        building = folder / "building"
        building.mkdir(parents=True)
        make_directory(building, COLLECTION, 100)
        with DeltaWriter() as writer:
            for state in range(_STATES):
                writer.add(building, 100 + state * 10, 10)
                shutil.copytree(building, folder / str(state))
    return folder


def main() -> None:
    """Let crowds loose on the local store, ministack and SeaweedFS."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--processes", type=int, default=32)
    parser.add_argument("--publishes", type=int, default=20)
    chosen = parser.parse_args()
    rows = []
    for name, processes in (
        ("local", chosen.processes),
        ("ministack", chosen.processes),
        ("SeaweedFS", min(chosen.processes, 4)),
    ):
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(_row(name, Path(scratch), processes, chosen.publishes))
        print(" | ".join(rows[-1]), flush=True)
    header = ["store", "processes", "publishes", "lost", "seconds", "publishes a second"]
    text = f"# Crowds\n\nWritten by `make bench-crowd`.\n\n{markdown_table(header, rows)}\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "crowd.md").write_text(text)


def _row(name: str, folder: Path, processes: int, count: int) -> list[str]:
    if name == "local":
        return crowd(Place(name, folder / "vault", None), folder, processes, count)
    start = ministack if name == "ministack" else seaweedfs
    with start(folder / "server") as server:
        return crowd(Place(name, None, server), folder, processes, count)


if __name__ == "__main__":
    main()
