"""Who holds a ChromaDB directory's files, those included that /proc does not show."""

from __future__ import annotations

from pathlib import Path

from chromaseal.adapters.chroma.lock_probe import probe
from chromaseal.seal.open_files import Holder, OpenFiles
from chromaseal.seal.quiet import DATABASE


class ProbedOpenFiles:
    """What another one sees, and locks of processes that nobody here can see.

    A process in another container, or on another machine that shares the disk, is in no /proc
    of ours. While it changes or reads the database it has SQLite's locks, and of these the
    kernel tells.

    Args:
        seen: who is asked first.
        private: below it lies what is this machine's own and needs no question; empty for nothing.
    """

    def __init__(self, seen: OpenFiles, *, private: Path | None = None) -> None:
        self._seen = seen
        self._private = private

    def holders(self, directory: Path) -> list[Holder]:
        """Give every process that holds a file below a directory, this one included."""
        found = self._seen.holders(directory)
        if found or self._is_private(directory):
            return found
        database = str(directory / DATABASE)
        locks = probe(directory).locks
        return [Holder(lock.pid, "", database, f"locked ({name})") for name, lock in locks.items()][
            :1
        ]

    def _is_private(self, directory: Path) -> bool:
        return self._private is not None and directory.is_relative_to(self._private)
