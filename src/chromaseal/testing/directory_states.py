"""Small ChromaDB directories, each the next state of the one before.

``python -m chromaseal.testing.directory_states FOLDER`` makes them: ``FOLDER/0``, ``FOLDER/1`` and
so on, flushed index and all. Each has a plain file beside ChromaDB's own, which grows, shrinks to
the middle of a page, changes in few bytes, goes and comes back.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from chromaseal.testing.records import record

COUNT = 8
COLLECTION = "notes"
EXTRA = "extra/plain.bin"
_DIMENSION = 8
_THRESHOLD = 20
_FIRST = 40
_EACH = 9
# Bytes of the plain file per state: whole pages, the middle of one, nothing, absent.
_EXTRA_SIZES = (30_000, 61_440, 10_001, 61_441, None, 8_192, 0, 50_000)


@functools.cache
def made_states() -> list[Path]:
    """Make the directories, once per process and in a process of their own; name them in order."""
    folder = Path(tempfile.mkdtemp(prefix="chromaseal-states-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", __name__, str(folder)], check=True)  # noqa: S603
    return [folder / str(number) for number in range(COUNT)]


def contents(directory: Path) -> dict[str, bytes]:
    """Give every file of a directory, by its path in there."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if not path.is_dir()
    }


def replace_contents(directory: Path, state: Path) -> None:
    """Make a directory, which may be there, exactly a state."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(state, directory)


def _write_extra(directory: Path, number: int) -> None:
    size_bytes = _EXTRA_SIZES[number]
    path = directory / EXTRA
    path.unlink(missing_ok=True)
    if size_bytes is not None:
        path.parent.mkdir(exist_ok=True)
        content = bytearray(np.random.default_rng(1).bytes(size_bytes))
        for place in range(number, size_bytes, 3001):
            content[place] ^= number + 1
        path.write_bytes(content)


def main() -> None:
    """Write the directories."""
    # Whoever only uses the directories does not need ChromaDB.
    from chromaseal.adapters.chroma.client import opened  # noqa: PLC0415
    from chromaseal.adapters.chroma.collection import upsert_records  # noqa: PLC0415

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    live = folder / "live"
    with opened(live) as client:
        collection = client.create_collection(
            COLLECTION,
            metadata={"hnsw:sync_threshold": _THRESHOLD, "hnsw:batch_size": _THRESHOLD},
            embedding_function=None,
        )
        for number in range(COUNT):
            start = _FIRST + number * _EACH if number else 0
            numbers = range(start, start + (_EACH if number else _FIRST))
            made = [record(f"r{n}", n, dimension=_DIMENSION, state=number) for n in numbers]
            upsert_records(collection, made, {})
            if number:
                collection.delete(ids=[f"r{number}"])
            replace_contents(folder / str(number), live)
            _write_extra(folder / str(number), number)


if __name__ == "__main__":
    main()
