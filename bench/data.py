"""ChromaDB directories to measure with: built once, kept, copied, and grown delta by delta.

``python -m bench.data 50000 200000`` builds what is not there yet. Directories are opened by
child processes only, so that they are closed whenever somebody measures them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.records import DELTA_RECORDS, DIMENSION, make_records, own_bytes
from chromaseal.adapters.chroma.client import opened
from chromaseal.adapters.chroma.collection import (
    BATCH_RECORDS,
    create_collection,
    upsert_records,
)
from chromaseal.adapters.parquet.codec import ParquetDeltaCodec
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.delta.model import Delta, DeltaHeader, upserts_of
from chromaseal.embedding import ModelPin
from chromaseal.sandbox import limits_for

COLLECTION = "words"
CACHE = Path(__file__).resolve().parents[1] / ".bench-cache"

# To be raised when records or the way of building them change, so that no old directory is used.
_RECIPE = 2
_MERGE = "chromaseal.adapters.chroma.merge"
_MODEL = ModelPin("random", "1", "", DIMENSION)


@dataclass(frozen=True, slots=True)
class Added:
    """One delta that was merged into a directory.

    Attributes:
        duration_s: from asking the child process to its exit: open, upsert, close.
        own_bytes: of the records that came.
        flushed: whether ChromaDB wrote its index files. It does when its log has more than
            1,000 records, every 17th delta of 60; a delta without is a plain one.
    """

    duration_s: float
    own_bytes: int
    flushed: bool


class DeltaWriter:
    """Merges deltas as chromaseal does: Parquet, in a child forked from a warm process.

    Args:
        collection: where the records go.
    """

    def __init__(self, collection: str = COLLECTION) -> None:
        self._collection = collection
        self._sandbox = ProcessSandbox(preload=[_MERGE])
        self._codec = ParquetDeltaCodec()

    def __enter__(self) -> Self:
        """Start importing ChromaDB."""
        self._sandbox.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the warm process."""
        self._sandbox.close()

    def add(self, directory: Path, first: int, count: int = DELTA_RECORDS) -> Added:
        """Upsert the records number ``first`` up to ``first + count``; the child has exited."""
        records = make_records(first, count)
        header = DeltaHeader(f"bench-{first}", self._collection, "2026-01-01", _MODEL)
        delta = Delta(header, upserts_of(records), {}, ())
        before = index_times(directory)
        with tempfile.NamedTemporaryFile(suffix=self._codec.suffix) as file:
            file.write(self._codec.encode(delta))
            file.flush()
            request = {
                "directory": str(directory),
                "collection": self._collection,
                "space": "l2",
                "default_model": False,
                "deltas": [file.name],
            }
            limits = limits_for(size_bytes(directory), count)
            start = time.perf_counter()
            self._sandbox.run("merge", request, limits=limits)
            duration_s = time.perf_counter() - start
        return Added(duration_s, own_bytes(records), index_times(directory) != before)


def make_directory(directory: Path, collection: str, records: int) -> None:
    """Build a directory in a child process, in the largest batches that ChromaDB takes.

    It ends with an empty log: all vectors are in the index files.
    """
    _in_child("make", str(directory), collection, "0", str(records))


def add_records(directory: Path, collection: str, first: int, count: int) -> None:
    """Upsert records in a child process of its own, which imports ChromaDB and so takes seconds.

    ``DeltaWriter`` does the same at the speed of chromaseal's own merges.
    """
    _in_child("add", str(directory), collection, str(first), str(count))


def cached_directory(records: int, cache: Path = CACHE) -> Path:
    """Give the kept directory of that many records, built if need be; not to be opened."""
    directory = cache / f"{COLLECTION}-{records}-recipe{_RECIPE}"
    if not directory.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Wherever it is kept, nobody is to commit it.
        (cache / ".gitignore").write_text("*\n")
        unfinished = directory.with_suffix(f".unfinished-{os.getpid()}")
        unfinished.mkdir()
        try:
            make_directory(unfinished, COLLECTION, records)
            unfinished.rename(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return directory


def fresh_copy(records: int, target: Path, cache: Path = CACHE) -> Path:
    """Copy the kept directory of that many records to where it may be changed."""
    return shutil.copytree(cached_directory(records, cache), target)


def files_of(directory: Path) -> list[Path]:
    """Give the files of a directory, by name."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def size_bytes(directory: Path) -> int:
    """Add up the files of a directory."""
    return sum(path.stat().st_size for path in files_of(directory))


def index_times(directory: Path) -> list[int]:
    """Give when each index file was last written; ChromaDB writes them when it flushes."""
    return [path.stat().st_mtime_ns for path in sorted(directory.glob("*/*.bin"))]


def _in_child(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "bench.data", *arguments], check=True)


def _upsert(verb: str, directory: Path, collection: str, first: int, count: int) -> None:
    with opened(directory) as client:
        if verb == "make":
            found = create_collection(client, collection, space="l2", with_default_model=False)
        else:
            found = client.get_collection(collection, embedding_function=None)
        for start in range(first, first + count, BATCH_RECORDS):
            upsert_records(
                found, make_records(start, min(BATCH_RECORDS, first + count - start)), {}
            )


def main() -> None:
    """Build the named directories; or, as a child, make one or add to one."""
    if sys.argv[1:2] in (["make"], ["add"]):
        verb, place, collection, first, count = sys.argv[1:]
        _upsert(verb, Path(place), collection, int(first), int(count))
        return
    for records in map(int, sys.argv[1:]):
        start = time.perf_counter()
        directory = cached_directory(records)
        print(f"{directory.name}: {size_bytes(directory):,} bytes,", end=" ")
        print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
