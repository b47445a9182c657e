"""An object store around another one that tells of what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator

from chromaseal.object_store import ObjectInfo, ObjectStore, StoredObject
from chromaseal.telemetry.emit import operation


class ObservedStore:
    """The other store; every operation is told of, with key, size, time and outcome.

    Args:
        inner: where the objects are.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        """Say where the objects are."""
        return self.inner.url

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is."""
        with operation("create object", key=key, size_bytes=memoryview(body).nbytes):
            self.inner.create(key, body)

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``."""
        with operation("replace object", key=key, size_bytes=len(body)):
            self.inner.replace(key, body, etag=etag)

    def get(self, key: str) -> StoredObject:
        """Read an object whole."""
        with operation("get object", key=key) as asked:
            found = self.inner.get(key)
            asked.note(size_bytes=len(found.body))
        return found

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read a part of an object."""
        with operation("get range", key=key) as asked:
            found = self.inner.get_range(key, start=start, length=length)
            asked.note(size_bytes=len(found))
        return found

    def head(self, key: str) -> ObjectInfo | None:
        """Tell of an object without its content."""
        with operation("head object", key=key):
            return self.inner.head(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Tell of every object whose key starts with ``prefix``, in order."""
        with operation("list objects", key=prefix) as asked:
            objects = 0
            for objects, info in enumerate(self.inner.list(prefix), start=1):  # noqa: B007 - counted
                yield info
            asked.note(objects=objects)

    def delete(self, key: str) -> None:
        """Remove an object."""
        with operation("delete object", key=key):
            self.inner.delete(key)
