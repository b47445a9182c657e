"""A collection's versions as its log shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chromaseal import keys
from chromaseal.object_store import ObjectStore
from chromaseal.snapshot.history import head, line
from chromaseal.snapshot.manifest import PastVersion
from chromaseal.snapshot.removal import removed_versions
from chromaseal.snapshot.tags import read_tags


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One version in a log.

    Attributes:
        version: what is remembered of it.
        tags: its names.
        removed: whether garbage collection has taken it.
        lost: whether its manifest is missing though nobody took it.
    """

    version: PastVersion
    tags: tuple[str, ...]
    removed: bool
    lost: bool = False


def log_entries(store: ObjectStore, collection: str) -> Iterator[LogEntry]:
    """Give a collection's versions, the newest first.

    Raises:
        Damaged: the history cannot be read.
    """
    newest = head(store, collection).version
    if newest is None:
        return
    names: dict[str, list[str]] = {}
    for name, version_id in read_tags(store, collection).items():
        names.setdefault(version_id, []).append(name)
    present = {info.key for info in store.list(keys.manifests(collection))}
    gone = removed_versions(store, collection)
    for past in reversed(line(store, newest)):
        missing = keys.manifest(collection, past.version_id) not in present
        taken = past.version_id in gone
        tags = tuple(sorted(names.get(past.version_id, ())))
        yield LogEntry(past, tags, removed=missing and taken, lost=missing and not taken)
