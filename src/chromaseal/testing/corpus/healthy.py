"""Healthy ChromaDB directories with histories, each at two times; built by child processes.

``python -m chromaseal.testing.corpus.healthy FOLDER RECORDS SPACE ...`` imports ChromaDB once and
forks for each phase of a history: when a fork has exited, nobody has its directory open.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DIMENSION = 32
FIRST, SECOND, PENDING, OTHERS = "first", "second", "pending", "others"
_OTHER_RECORDS = 40
_BATCH = 500
_THRESHOLD = 500
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Base:
    """One healthy directory.

    Attributes:
        name: of the base.
        newest: the directory.
        older: the same directory before its last flush or, without one, its last changes.
        flushed: whether its index was ever flushed.
        pending: whether the log has changes that the index lacks.
        space: ``l2`` or ``cosine``.
    """

    name: str
    newest: Path
    older: Path
    flushed: bool
    pending: bool
    space: str


def build_bases(folder: Path, records: int, spaces: Sequence[str] = ("l2", "cosine")) -> list[Base]:
    """Build all bases, for each distance: small, flushed, with a log, and of several collections.

    Args:
        folder: where to; must exist.
        records: how many the flushed ones have.
        spaces: the distances.
    """
    command = [sys.executable, "-m", __name__, str(folder), str(records), *spaces]
    subprocess.run(command, check=True, timeout=_TIMEOUT_S)  # noqa: S603 - our own module
    return [base for space in spaces for base in _bases(folder, space)]


def _bases(folder: Path, space: str) -> list[Base]:
    def base(name: str, older: str, *, flushed: bool, pending: bool) -> Base:
        newest = folder / f"{name}-{space}" / "newest"
        return Base(
            f"{name}-{space}",
            newest,
            folder / f"{older}-{space}" / "older",
            flushed,
            pending,
            space,
        )

    return [
        base("small", "small", flushed=False, pending=True),
        base("flushed", "flushed", flushed=True, pending=False),
        base("pending", "flushed", flushed=True, pending=True),
        base("several", "flushed", flushed=True, pending=True),
    ]


def _build(folder: Path, space: str, records: int) -> None:
    small, flushed, pending, several = (
        folder / f"{name}-{space}" for name in ("small", "flushed", "pending", "several")
    )
    _grow(small / "newest", space, 100, FIRST)
    shutil.copytree(small / "newest", small / "older")
    _grow(small / "newest", space, 100, PENDING)
    _grow(flushed / "newest", space, records, FIRST)
    shutil.copytree(flushed / "newest", flushed / "older")
    _grow(flushed / "newest", space, records, SECOND)
    shutil.copytree(flushed / "newest", pending / "newest")
    _grow(pending / "newest", space, records, PENDING)
    shutil.copytree(pending / "newest", several / "newest")
    _grow(several / "newest", space, records, OTHERS)


def _grow(directory: Path, space: str, records: int, phase: str) -> None:
    """Bring a directory through one phase of its history, in a fork.

    Raises:
        RuntimeError: the fork has failed.
    """
    child = os.fork()
    if not child:
        try:
            _live_through(directory, space, records, phase)
        except BaseException:  # noqa: BLE001 - as at the end of any program
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"{directory} was not built: {os.waitstatus_to_exitcode(status)}")


def _metadata(number: int, phase: str) -> dict[str, Any]:
    return {
        "number": number,
        "share": number / 7 + 0.1,
        "even": number % 2 == 0,
        "phase": phase,
        "tags": ["a", f"t{number % 5}"],
    }


def _upsert(collection: Any, numbers: list[int], phase: str) -> None:  # noqa: ANN401 - ChromaDB's
    chance = np.random.default_rng([len(phase), *numbers[:2]])
    for start in range(0, len(numbers), _BATCH):
        batch = numbers[start : start + _BATCH]
        collection.upsert(
            ids=[f"r{n}" for n in batch],
            embeddings=chance.standard_normal((len(batch), DIMENSION)).astype(np.float32),
            documents=[f"document {n} of phase {phase}, in words" for n in batch],
            metadatas=[_metadata(n, phase) for n in batch],
        )


def _live_through(directory: Path, space: str, records: int, phase: str) -> None:
    import chromadb  # noqa: PLC0415 - once, before the first fork

    client: Any = chromadb.PersistentClient(str(directory))
    hnsw = {"space": space, "sync_threshold": _THRESHOLD, "batch_size": _THRESHOLD}
    collection = client.get_or_create_collection(
        "notes", embedding_function=None, configuration={"hnsw": hnsw}
    )
    if phase == FIRST:
        _upsert(collection, list(range(records)), phase)
    elif phase == SECOND:
        collection.delete(ids=[f"r{n}" for n in range(0, records, 11)])
        collection.update(
            ids=[f"r{n}" for n in range(1, records, 11)],
            metadatas=[{"phase": "updated"} for _ in range(1, records, 11)],
        )
        # A batch as long as the threshold is flushed at once, so the log is empty after it.
        _upsert(collection, list(range(records // 2, records // 2 + _THRESHOLD)), phase)
    elif phase == OTHERS:
        # Never flushed, one with another distance; ids of their own.
        for name, other in (("words", space), ("cats", "ip")):
            made = client.create_collection(
                name, embedding_function=None, configuration={"hnsw": {"space": other}}
            )
            first = records * (2 if name == "words" else 3)
            _upsert(made, list(range(first, first + _OTHER_RECORDS)), phase)
    else:
        _upsert(collection, list(range(50, 110)), phase)
        collection.delete(ids=[f"r{n}" for n in range(60, 64)])
        collection.update(ids=["r70"], metadatas=[{"phase": "updated later"}])
    client.close()


def main() -> None:
    """Build all directories."""
    importlib.import_module("chromadb")
    folder, records, *spaces = sys.argv[1:]
    for space in spaces:
        _build(Path(folder), space, int(records))


if __name__ == "__main__":
    main()
