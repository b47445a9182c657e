"""SQLite's RESERVED lock on a database of another process, without SQLite.

SQLite would roll back a hot journal before it gives a lock, which is a write into a directory
that is not ours. The bytes to lock are a part of SQLite's file format. Open-file-description
locks are used, so that closing another descriptor of the file drops nothing, and another thread
can release them.

The lock is never taken over a hot journal: whoever opened the database meanwhile would take the
journal for that of a living writer, and read half of a dead one's transaction.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Final, Self

from chromaseal.clock import Clock
from chromaseal.errors import Unsupported

_PENDING: Final = 0x40000000
_RESERVED: Final = _PENDING + 1
_SHARED: Final = _PENDING + 2
_SHARED_BYTES: Final = 510
_FLOCK: Final = struct.Struct("hhqqi4x")
_POLL_S = 0.001


def journal_in_use(journal: Path) -> bool:
    """Tell whether a journal has anything to roll back; one not yet synced begins with zeros.

    A transaction writes nothing into the database before its journal is synced.
    """
    try:
        with journal.open("rb") as file:
            return file.read(1) not in {b"", b"\0"}
    except FileNotFoundError:
        return False


class ReservedLock:
    """One hold of the lock; writers wait, readers do not. Use as a context manager.

    Args:
        descriptor: of the database, open for reading and writing.
        journal: the database's.
        budget_s: the longest hold; a watchdog releases the lock then, whatever the holder does.
        patience_s: how long to wait for a writer's own transaction to end.
        clock: what the waiting goes by.

    Attributes:
        taken: whether it was got.
        hot: whether there is a dead writer's journal, over which it is never taken.
        held_s: how long it was held.
    """

    def __init__(
        self, descriptor: int, journal: Path, *, budget_s: float, patience_s: float, clock: Clock
    ) -> None:
        self._descriptor = descriptor
        self._journal = journal
        self._budget_s = budget_s
        self._patience_s = patience_s
        self._clock = clock
        self._guard = Lock()
        self._watched = Event()
        self._released = Event()
        self._held = False
        self._since_s = 0.0
        self.taken = False
        self.hot = False
        self.held_s = 0.0

    def __enter__(self) -> Self:
        """Take the lock, or give up; ``taken`` and ``hot`` tell which and why.

        Raises:
            Unsupported: ``cannot-lock``.
        """
        # Started first: on a busy machine a thread can take milliseconds to start.
        Thread(target=self._watch, daemon=True).start()
        try:
            self._wait()
        except OSError as error:
            self._end()
            raise Unsupported(
                f"{self._journal.parent} cannot be locked: {error.strerror}",
                kind="cannot-lock",
                hint="run on the machine whose disk the directory is on",
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def is_held(self) -> bool:
        """Tell whether the lock is held, without a break since it was taken and in budget."""
        if self._clock.monotonic_s() - self._since_s >= self._budget_s:
            self.release()
        return self._held

    def release(self) -> None:
        """Let writers go on; a second call does nothing."""
        with self._guard:
            if not self._held:
                return
            self._held = False
            self._drop()
            self.held_s = self._clock.monotonic_s() - self._since_s

    def _wait(self) -> None:
        deadline_s = self._clock.monotonic_s() + self._patience_s
        while not self._take():
            if self.hot or self._clock.monotonic_s() >= deadline_s:
                return
            self._clock.sleep(_POLL_S)
        self._since_s = self._clock.monotonic_s()
        self._held = self.taken = True
        self._watched.set()

    def _end(self) -> None:
        self.release()
        self._released.set()
        self._watched.set()

    def _watch(self) -> None:
        self._watched.wait()
        if not self._released.wait(self._budget_s):
            self.release()

    def _take(self) -> bool:
        # In SQLite's order: PENDING shows that nobody is about to write, SHARED is announced
        # under it, and RESERVED is for one writer at a time.
        try:
            _lock(self._descriptor, fcntl.F_RDLCK, _PENDING, 1)
            _lock(self._descriptor, fcntl.F_RDLCK, _SHARED, _SHARED_BYTES)
            _lock(self._descriptor, fcntl.F_UNLCK, _PENDING, 1)
            # Under SHARED nobody writes or deletes a journal that has something to roll back.
            self.hot = journal_in_use(self._journal) and not _locked(self._descriptor)
            if not self.hot:
                _lock(self._descriptor, fcntl.F_WRLCK, _RESERVED, 1)
                self.hot = journal_in_use(self._journal)
        except BlockingIOError:
            self.hot = False
            self._drop()
            return False
        if self.hot:
            self._drop()
        return not self.hot

    def _drop(self) -> None:
        _lock(self._descriptor, fcntl.F_UNLCK, _PENDING, 2 + _SHARED_BYTES)


def _locked(descriptor: int) -> bool:
    """Tell whether anybody else has the database reserved."""
    flock = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _RESERVED, 1, 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, flock)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _lock(descriptor: int, kind: int, start: int, length: int) -> None:
    flock = _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, flock)
