"""Versions that a person wants to forget -> their ids, if nothing can be read of them any more."""

from __future__ import annotations

from collections.abc import Sequence

from chromaseal.errors import Conflict, Damaged, NotFound
from chromaseal.parts import Parts
from chromaseal.snapshot.history import head, line, load
from chromaseal.snapshot.tags import read_tags


def versions_beyond_rescue(parts: Parts, collection: str, numbers: Sequence[int]) -> frozenset[str]:
    """Give the ids of versions, each of which was looked at and cannot be read whole.

    Raises:
        Conflict: ``cannot-forget``, one is whole, the newest, has a tag, or never was.
    """
    newest = head(parts.store, collection).version if numbers else None
    if newest is None:
        return frozenset()
    past = {version.number: version.version_id for version in line(parts.store, newest)}
    tags = {version_id: name for name, version_id in read_tags(parts.store, collection).items()}
    for number in numbers:
        version_id = past.get(number)
        if version_id is None:
            raise _refused(collection, number, "there never was one", "log", "shows its versions")
        if version_id == newest.version_id:
            raise _refused(collection, number, "it is the newest", "repair", "mends it")
        if version_id in tags:
            name = tags[version_id]
            raise _refused(collection, number, f"it has the tag {name}", "untag", f"{name} first")
        if _is_whole(parts, collection, version_id):
            hint = "--keep-last and --keep-days remove whole versions"
            raise _refused(collection, number, "it is whole", "gc", hint)
    return frozenset(past[number] for number in numbers)


def _is_whole(parts: Parts, collection: str, version_id: str) -> bool:
    try:
        version = load(parts.store, collection, version_id)
        with parts.checkouts.workspace() as workspace:
            parts.checkouts.fetch_fresh(version, workspace / "directory")
    except (Damaged, NotFound):
        return False
    return True


def _refused(collection: str, number: int, why: str, command: str, rest: str) -> Conflict:
    return Conflict(
        f"version {number} of {collection} is not forgotten: {why}",
        kind="cannot-forget",
        hint=f"chromaseal {command} {collection} {rest}",
    )
