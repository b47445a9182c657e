"""Objects in a dictionary: the store that a simulation fails in front of, and looks into."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from chromaseal.errors import Conflict, NotFound
from chromaseal.object_store import ObjectInfo, StoredObject, check_key


class MemoryStore:
    """An object store of one process.

    Attributes:
        objects: body and tag by key.
    """

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self._infos: dict[str, ObjectInfo] = {}
        self._keys: list[str] = []
        self._writes = 0

    @property
    def url(self) -> str:
        """Say where this is."""
        return "memory://simulation"

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is."""
        if check_key(key) in self.objects:
            raise Conflict(f"{key} is there already", kind="already-exists")
        insort(self._keys, key)
        self._put(key, bytes(body))

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``."""
        found = self.objects.get(key)
        if found is None:
            check_key(key)
        if found is None or found.etag != etag:
            raise Conflict(f"{key} has changed", kind="lost-race")
        self._put(key, bytes(body))

    def get(self, key: str) -> StoredObject:
        """Read an object whole."""
        found = self.objects.get(key)
        if found is None:
            check_key(key)
            raise NotFound(f"there is no {key}", kind="no-object")
        return found

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read a part of an object."""
        return self.get(key).body[start : start + length]

    def head(self, key: str) -> ObjectInfo | None:
        """Tell of an object without its content."""
        found = self._infos.get(key)
        if found is None:
            check_key(key)
        return found

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Tell of every object whose key starts with ``prefix``, in the order of their keys."""
        # Keys are ASCII, so that nothing that starts with the prefix sorts after this.
        start, end = bisect_left(self._keys, prefix), bisect_left(self._keys, f"{prefix}\x7f")
        return iter([self._infos[key] for key in self._keys[start:end]])

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        if self.objects.pop(key, None) is None:
            check_key(key)
        else:
            del self._keys[bisect_left(self._keys, key)], self._infos[key]

    def _put(self, key: str, body: bytes) -> None:
        self._writes += 1
        self.objects[key] = StoredObject(body, f"tag-{self._writes}")
        self._infos[key] = ObjectInfo(key, len(body))
