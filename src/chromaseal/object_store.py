"""The object store as the engine sees it: immutable objects and one compare-and-swap.

The model is obstore's: S3, GCS, Azure, a local directory, memory. Two writes exist. ``create``
stores an object only where none is; ``replace`` changes one only where it is still what the
writer saw. Either can succeed while its reply is lost: callers go through
``chromaseal.settle``, which reads back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from chromaseal.errors import UsageError

_KEY_LIMIT_BYTES = 1024
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,254}")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing or head tells of an object."""

    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's content and the tag that ``replace`` asks for."""

    body: bytes
    etag: str


class ObjectStore(Protocol):
    """A prefix in an object store."""

    @property
    def url(self) -> str:
        """Say where this is, without credentials."""
        ...

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is.

        Raises:
            Conflict: ``already-exists``, an object of that key is there.
            Unavailable: no answer, or one that leaves the outcome open; read back.
        """
        ...

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``.

        Raises:
            Conflict: ``lost-race``, it is missing or carries another tag.
            Unavailable: no answer, or one that leaves the outcome open; read back.
        """
        ...

    def get(self, key: str) -> StoredObject:
        """Read an object whole.

        Raises:
            NotFound: ``no-object``.
            Unavailable: no answer.
        """
        ...

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read ``length`` bytes from ``start``; fewer, or none, where the object ends before.

        Raises:
            NotFound: ``no-object``.
            Unavailable: no answer.
        """
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Tell of an object without its content; None where there is none."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Tell of every object whose key starts with ``prefix``, in the order of their keys."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...


def check_key(key: str) -> str:
    """Give the key back if every store can hold it as it is.

    Parts start with a letter, digit or underscore, so no key can hide, climb out of its
    directory (``..``) or start at the root.

    Raises:
        UsageError: ``bad-key``.
    """
    if len(key.encode()) <= _KEY_LIMIT_BYTES and all(
        _PART.fullmatch(part) for part in key.split("/")
    ):
        return key
    raise UsageError(f"{key!r} cannot be the key of an object", kind="bad-key")


def check_foreign_key(key: str) -> str:
    """Give the key of somebody else's object back if no store takes it for another place.

    Others name their objects as they like, with a dot in front for example; only what could climb
    out of the prefix is refused.

    Raises:
        UsageError: ``bad-key``.
    """
    parts = key.split("/")
    if len(key.encode()) <= _KEY_LIMIT_BYTES and not {"", ".", ".."} & set(parts):
        return key
    raise UsageError(f"{key!r} cannot be the key of an object", kind="bad-key")
