"""A ChromaDB directory that another process writes -> observations; nothing is written into it."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from chromaseal.adapters.chroma.reserved_lock import ReservedLock, journal_in_use
from chromaseal.clock import Clock
from chromaseal.errors import Conflict, Damaged, Unsupported
from chromaseal.seal.page_table import FileStamp, stamp_of
from chromaseal.seal.quiet import DATABASE, INDEX_FILES, Observation

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_WRITE_AHEAD: Final = 2
# Linux gives files their times from this clock, which stays behind the finer one where a machine
# stands still for a moment; Python has no name for it.
_CLOCK_REALTIME_COARSE: Final = 5
_PATIENCE_S: Final = 1.0


class LiveDirectory:
    """The database open to be looked at and locked; use as a context manager.

    Args:
        directory: somebody else's.
        clock: what waiting for the lock goes by.

    Raises:
        Damaged: ``no-database`` or ``not-a-plain-file``.
        Unsupported: ``cannot-lock``.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self._clock = clock
        self._journal = directory / f"{DATABASE}-journal"
        self._descriptor = _open_database(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def observe(self) -> Observation:
        """Look at the header of the database and at the stamps of all files.

        Raises:
            Conflict: ``changed-while-reading``, the database is another file now.
            Damaged: ``no-database`` or ``not-a-plain-file``.
            Unsupported: ``write-ahead-log``.
        """
        seen_ns = time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)
        header = os.pread(self._descriptor, _HEADER_BYTES, 0)
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            raise _no_database(self.directory)
        if header[18] == _WRITE_AHEAD:
            raise Unsupported(
                f"{self.directory / DATABASE} has a write-ahead log, which ChromaDB does not use",
                kind="write-ahead-log",
                hint="set its journal_mode back to delete while nothing has it open",
            )
        files = dict(_files(self.directory))
        if DATABASE not in files or files[DATABASE].inode != os.fstat(self._descriptor).st_ino:
            raise Conflict(
                f"{self.directory / DATABASE} was replaced by another file while it was read",
                kind="changed-while-reading",
                hint="run again when nothing but the application changes the directory",
            )
        return Observation(
            change_counter=int.from_bytes(header[24:28], "big"),
            journal=journal_in_use(self._journal),
            files=files,
            seen_ns=seen_ns,
        )

    def reserved(self, budget_s: float) -> ReservedLock:
        """Give the lock that holds writers back while it is held."""
        return ReservedLock(
            self._descriptor,
            self._journal,
            budget_s=budget_s,
            patience_s=_PATIENCE_S,
            clock=self._clock,
        )


def _open_database(directory: Path) -> int:
    path = directory / DATABASE
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise _not_plain(path)
        # Locks that keep writers out ask for a descriptor that could write; nothing is written.
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise _no_database(directory) from None
    except OSError as error:
        raise Unsupported(
            f"{path} cannot be locked: {error.strerror}",
            kind="cannot-lock",
            hint="run as the user that the application runs as, on a disk of the same machine",
        ) from error
    return descriptor


def _files(directory: Path) -> Iterator[tuple[str, FileStamp]]:
    """Give what ChromaDB's data is in; a name that is gone before it was looked at is left out."""
    for path, status in _plain(directory):
        if stat.S_ISDIR(status.st_mode):
            if _UUID.fullmatch(path.name):
                yield from _index_files(path)
        elif path.name == DATABASE:
            yield path.name, stamp_of(status)


def _index_files(folder: Path) -> Iterator[tuple[str, FileStamp]]:
    for path, status in _plain(folder):
        if path.name in INDEX_FILES and stat.S_ISREG(status.st_mode):
            yield f"{folder.name}/{path.name}", stamp_of(status)


def _plain(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return
    for path in paths:
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise _not_plain(path)
        yield path, status


def _no_database(directory: Path) -> Damaged:
    return Damaged(
        f"{directory} has no {DATABASE}, or one that is no SQLite database",
        kind="no-database",
        hint="name the directory that a chromadb.PersistentClient was opened on",
    )


def _not_plain(path: Path) -> Damaged:
    return Damaged(f"{path} is neither a plain file nor a directory", kind="not-a-plain-file")
