"""Many deltas in a row, fast: one child keeps ChromaDB open, and what is measured is a copy.

Opening costs as much as replaying ChromaDB's log, which is most of the time of a small merge.
Here the child upserts and then does nothing; while it does nothing, the files that changed are
copied. An idle client's files are whole, so the copy is a directory that nobody has open and
that differs from its state before as a merged one does, but for ChromaDB's row about opening.
``python -m bench.chain DIRECTORY COLLECTION`` is the child: a line with two numbers in, a line
out when those records are stored.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.data import COLLECTION, Added, files_of, index_times
from bench.records import DELTA_RECORDS, make_records, own_bytes
from chromaseal.adapters.chroma.client import opened
from chromaseal.adapters.chroma.collection import create_collection, find_collection, upsert_records

_READY = "ready"


class OpenWriter:
    """Grows a directory of its own and brings a copy of it up to date after each delta.

    Args:
        source: a directory that is nobody else's while this is open; made if it is not there.
        target: the copy; made if it is not there, its files overwritten in place.
        collection: where the records go.
    """

    def __init__(self, source: Path, target: Path, collection: str = COLLECTION) -> None:
        self._source, self._target = source, target
        source.mkdir(exist_ok=True)
        target.mkdir(exist_ok=True)
        command = (sys.executable, "-m", "bench.chain", str(source), collection)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._wait()

    def __enter__(self) -> Self:
        """Take the first copy."""
        self._copy()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the child close its directory and exit."""
        self._process.communicate()

    def add(self, first: int, count: int = DELTA_RECORDS) -> Added:
        """Upsert the records number ``first`` up to ``first + count``, then copy the changes."""
        if self._process.stdin is None:
            raise RuntimeError("the child was started without pipes")
        before = index_times(self._source)
        start = time.perf_counter()
        self._process.stdin.write(f"{first} {count}\n")
        self._process.stdin.flush()
        self._wait()
        duration_s = time.perf_counter() - start
        self._copy()
        own = own_bytes(make_records(first, count))
        return Added(duration_s, own, index_times(self._source) != before)

    def _wait(self) -> None:
        if self._process.stdout is None:
            raise RuntimeError("the child was started without pipes")
        if self._process.stdout.readline().strip() != _READY:
            raise RuntimeError("the child that keeps ChromaDB open has died")

    def _copy(self) -> None:
        for path in files_of(self._source):
            copy = self._target / path.relative_to(self._source)
            if _looks(path) == _looks(copy):
                continue
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
            # With its times, so that an unchanged file looks unchanged the next time too.
            shutil.copystat(path, copy)


def _looks(path: Path) -> tuple[int, int] | None:
    if not path.exists():
        return None
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def main() -> None:
    """Be the child."""
    directory, collection = sys.argv[1:]
    with opened(Path(directory)) as client:
        found = find_collection(client, collection) or create_collection(
            client, collection, space="l2", with_default_model=False
        )
        print(_READY, flush=True)
        for line in sys.stdin:
            first, count = map(int, line.split())
            upsert_records(found, make_records(first, count), {})
            print(_READY, flush=True)


if __name__ == "__main__":
    main()
