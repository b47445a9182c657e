"""Names for versions. A tagged version stays whatever garbage collection is told.

A tag is an object of its own that holds a version's id; it is stored once and never changed,
only removed. Tagging and collecting garbage may happen at once: the tagger stores the tag and
then looks for removals, the collector stores the removal and then looks for tags, so at least
one of them sees the other, and gives way.
"""

from __future__ import annotations

import re

from chromaseal import keys
from chromaseal.errors import Conflict, Damaged, NotFound, UsageError
from chromaseal.object_store import ObjectStore
from chromaseal.settle import put_once
from chromaseal.snapshot.manifest import Version
from chromaseal.snapshot.removal import removed_or_going, removed_versions
from chromaseal.snapshot.version_id import parse

# What could also be a number, a version's id or a time must not be a tag.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")


def check_tag(name: str) -> str:
    """Give a tag's name back if nothing else can be meant by it.

    Raises:
        UsageError: ``bad-tag``.
    """
    if _NAME.fullmatch(name):
        return name
    raise UsageError(
        f"{name!r} cannot be a tag",
        kind="bad-tag",
        hint="up to 100 letters, digits, dashes or underscores, a letter first",
    )


def write_tag(store: ObjectStore, name: str, version: Version) -> None:
    """Name a version.

    Raises:
        Conflict: ``tag-exists``, the name stands for another version.
        NotFound: ``removed-version``, garbage collection has just taken the version.
        UsageError: ``bad-tag``.
    """
    collection = version.manifest.collection
    key = keys.tag(collection, check_tag(name))
    try:
        stored = put_once(store, key, version.version_id.encode())
    except Conflict as error:
        raise Conflict(
            f"{name} is already a tag of {collection}, for another version",
            kind="tag-exists",
            hint=f"chromaseal untag {collection} {name}",
        ) from error
    if version.version_id in removed_versions(store, collection):
        # A tag that was there before may be what the version stays for.
        if stored:
            store.delete(key)
        raise removed_or_going(store, collection, version.version_id)


def delete_tag(store: ObjectStore, collection: str, name: str) -> None:
    """Take a name away; the version stays.

    Raises:
        NotFound: ``no-tag``.
    """
    key = keys.tag(collection, check_tag(name))
    if store.head(key) is None:
        raise NotFound(
            f"{collection} has no tag {name}",
            kind="no-tag",
            hint=f"chromaseal log {collection} shows them",
        )
    store.delete(key)


def read_tag(store: ObjectStore, collection: str, name: str) -> str | None:
    """Give the id of the version that a tag names; None where there is no such tag."""
    if not _NAME.fullmatch(name):
        return None
    try:
        return _version_id(store, keys.tag(collection, name))
    except NotFound:
        return None


def read_tags(store: ObjectStore, collection: str) -> dict[str, str]:
    """Give the version ids of all tags, by name.

    Raises:
        Damaged: ``bad-version-id``, a tag holds something else.
    """
    found: dict[str, str] = {}
    for info in store.list(keys.tags(collection)):
        name = keys.parse_tag(info.key)
        if name is not None:
            try:
                found[name] = _version_id(store, info.key)
            except NotFound:
                continue
    return found


def _version_id(store: ObjectStore, key: str) -> str:
    text = store.get(key).body.decode("utf-8", "replace").strip()
    try:
        parse(text)
    except Damaged as error:
        raise Damaged(f"{key}: {error.message}", kind=error.kind) from error
    return text
