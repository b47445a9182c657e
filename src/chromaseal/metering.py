"""An object store around another one that counts what is asked of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, fields

from chromaseal.object_store import ObjectInfo, ObjectStore, StoredObject


@dataclass(frozen=True, slots=True)
class Usage:
    """How often each operation was called, whatever came of it, and how many bytes moved.

    A call is counted once, also where the store's client needs several requests for it: a large
    listing takes one per thousand keys.

    Attributes:
        create: calls.
        replace: calls.
        get: calls.
        get_range: calls.
        head: calls.
        list: calls.
        delete: calls.
        bytes_in: of bodies on their way into the store, those of refused writes included.
        bytes_out: of bodies and ranges that the store gave.
    """

    create: int = 0
    replace: int = 0
    get: int = 0
    get_range: int = 0
    head: int = 0
    list: int = 0
    delete: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def requests(self) -> int:
        """Number of calls of any kind."""
        reads = self.get + self.get_range + self.head + self.list
        return self.create + self.replace + reads + self.delete

    def since(self, before: Usage) -> Usage:
        """Give what came after ``before``."""
        return _combined(self, before, -1)


class CountingStore:
    """The other store, and a count of what it was asked; several threads may use it at once.

    Args:
        inner: where the objects are.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self._usage = Usage()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Say where the objects are."""
        return self.inner.url

    @property
    def usage(self) -> Usage:
        """Everything since the beginning."""
        with self._lock:
            return self._usage

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is."""
        self._count(Usage(create=1, bytes_in=memoryview(body).nbytes))
        self.inner.create(key, body)

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``."""
        self._count(Usage(replace=1, bytes_in=len(body)))
        self.inner.replace(key, body, etag=etag)

    def get(self, key: str) -> StoredObject:
        """Read an object whole."""
        self._count(Usage(get=1))
        found = self.inner.get(key)
        self._count(Usage(bytes_out=len(found.body)))
        return found

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read a part of an object."""
        self._count(Usage(get_range=1))
        found = self.inner.get_range(key, start=start, length=length)
        self._count(Usage(bytes_out=len(found)))
        return found

    def head(self, key: str) -> ObjectInfo | None:
        """Tell of an object without its content."""
        self._count(Usage(head=1))
        return self.inner.head(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Tell of every object whose key starts with ``prefix``, in order."""
        self._count(Usage(list=1))
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._count(Usage(delete=1))
        self.inner.delete(key)

    def _count(self, more: Usage) -> None:
        with self._lock:
            self._usage = _combined(self._usage, more, 1)


def _combined(one: Usage, other: Usage, sign: int) -> Usage:
    names = [field.name for field in fields(Usage)]
    return Usage(**{name: getattr(one, name) + sign * getattr(other, name) for name in names})
