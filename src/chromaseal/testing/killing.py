"""An object store that kills its own process at one operation.

For tests that run the work in a child process: unlike an exception, SIGKILL runs no ``finally``
and flushes nothing, so what is left is what a lost machine leaves. How many operations there are
to die at, ``chromaseal.metering.CountingStore`` tells.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from chromaseal.object_store import ObjectInfo, ObjectStore, StoredObject


def kill_this_process() -> None:
    """End this process at once, as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


_CHANGES: Final = frozenset(
    f"os.{name}"
    for name in ("mkdir", "rename", "link", "symlink", "remove", "rmdir", "utime", "chmod")
)


def kill_at_change(below: Path, at: int) -> None:
    """Let this process die at one of the changes that it makes to a file system.

    Names that come and go, files that are opened for writing, pieces that are written, of which
    one half still gets there, and waits for the disk are counted, in the whole process.

    Args:
        below: where names count; writes and waits count everywhere.
        at: which change the process dies before, counted from 0.
    """
    begun = 0

    def count() -> bool:
        nonlocal begun
        begun += 1
        return begun == at + 1

    def hook(event: str, args: tuple[Any, ...]) -> None:
        opened = event == "open" and bool(args[2] & (os.O_WRONLY | os.O_RDWR))
        if not opened and event not in _CHANGES:
            return
        named = not isinstance(args[0], int) and os.fsdecode(args[0])
        # Trees are removed by names that are relative to an open directory.
        if named and (named.startswith(str(below)) or not named.startswith("/")) and count():
            kill_this_process()

    sys.addaudithook(hook)
    pwrite, fsync = os.pwrite, os.fsync

    def write(descriptor: int, body: memoryview, offset: int) -> int:
        if count():
            pwrite(descriptor, body[: len(body) // 2], offset)
            kill_this_process()
        return pwrite(descriptor, body, offset)

    def wait(descriptor: int) -> None:
        if count():
            kill_this_process()
        fsync(descriptor)

    os.pwrite, os.fsync = write, wait  # type: ignore[assignment]


class KillingStore:
    """The other store, until its process dies.

    Args:
        inner: where the objects really are.
        at: the operation that the process dies at, counted from 0 over all threads.
        landed: False kills before the operation reached the store, True after it was done and
            before anybody heard of it.
        kill: ends the process; tests of this class give another.
    """

    def __init__(
        self,
        inner: ObjectStore,
        *,
        at: int,
        landed: bool = False,
        kill: Callable[[], None] = kill_this_process,
    ) -> None:
        self.inner = inner
        self._at = at
        self._landed = landed
        self._kill = kill
        self._begun = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Say where the objects really are."""
        return self.inner.url

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is, or die."""
        with self._operation():
            self.inner.create(key, body)

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``, or die."""
        with self._operation():
            self.inner.replace(key, body, etag=etag)

    def get(self, key: str) -> StoredObject:
        """Read an object whole, or die."""
        with self._operation():
            return self.inner.get(key)

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read a part of an object, or die."""
        with self._operation():
            return self.inner.get_range(key, start=start, length=length)

    def head(self, key: str) -> ObjectInfo | None:
        """Tell of an object without its content, or die."""
        with self._operation():
            return self.inner.head(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Tell of every object whose key starts with ``prefix``, or die."""
        with self._operation():
            return iter(list(self.inner.list(prefix)))

    def delete(self, key: str) -> None:
        """Remove an object, or die."""
        with self._operation():
            self.inner.delete(key)

    @contextlib.contextmanager
    def _operation(self) -> Iterator[None]:
        with self._lock:
            due = self._begun == self._at
            self._begun += 1
        if due and not self._landed:
            self._kill()
        try:
            yield
        finally:
            if due and self._landed:
                self._kill()
