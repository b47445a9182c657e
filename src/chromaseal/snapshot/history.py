"""The versions of a collection: its head, any one of them, and the line that leads there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chromaseal import keys
from chromaseal.errors import Damaged, NotFound
from chromaseal.object_store import ObjectStore
from chromaseal.snapshot.manifest import Version, decode
from chromaseal.snapshot.version_id import parse

_PLAIN_ID = re.compile(r"\d{8}_\d{6}_\d{6}_.+")


class Head:
    """What the pointer says, and the tag that moving it asks for.

    Attributes:
        version: the newest version; None before the first.
        etag: of the pointer; None where there is none.
    """

    def __init__(self, version: Version | None, etag: str | None) -> None:
        self.version = version
        self.etag = etag


def head(store: ObjectStore, collection: str) -> Head:
    """Read a collection's pointer and the manifest that it names.

    Raises:
        Damaged: ``bad-version-id``, ``bad-manifest``, ``missing-object`` or
            ``missing-pointer``.
    """
    try:
        pointer = store.get(keys.pointer(collection))
    except NotFound:
        _refuse_lost_pointer(store, collection)
        return Head(None, None)
    version_id = pointer.body.decode("utf-8", "replace").strip()
    return Head(load(store, collection, version_id), pointer.etag)


def missing_pointer(collection: str) -> Damaged:
    """Make the error for a collection that has had versions and has no pointer."""
    return Damaged(
        f"{keys.pointer(collection)} is missing, though {collection} has had versions",
        kind="missing-pointer",
        hint="bring the object back: its body is the newest good version's id, nothing else",
    )


def _refuse_lost_pointer(store: ObjectStore, collection: str) -> None:
    # A first version whose writer died before the commit leaves a manifest with number 1.
    for found in store.list(keys.manifests(collection)):
        named = keys.parse_manifest(found.key)
        if named is not None and parse(named[1]).number > 1:
            raise missing_pointer(collection)


def load(store: ObjectStore, collection: str, version_id: str) -> Version:
    """Read one version by its id.

    Raises:
        Damaged: ``bad-version-id``, ``bad-manifest`` or ``missing-object``.
    """
    parse(version_id)
    try:
        body = store.get(keys.manifest(collection, version_id)).body
    except NotFound:
        raise Damaged(
            f"the manifest of {version_id} of {collection} is missing",
            kind="missing-object",
            hint="bring the object back from a backup of the vault",
        ) from None
    version = decode(version_id, body)
    if version.manifest.collection != collection:
        raise Damaged(f"{version_id} is no version of {collection}", kind="bad-manifest")
    return version


def lineage(store: ObjectStore, collection: str) -> Iterator[Version]:
    """Give a collection's versions from the newest to the first.

    Raises:
        Damaged: a link of the chain is missing or is not what its child says.
    """
    version = head(store, collection).version
    while version is not None:
        yield version
        parent = version.manifest.parent
        if parent is None:
            return
        older = load(store, collection, parent.version_id)
        if older.digest != parent.digest or older.manifest.number != version.manifest.number - 1:
            raise Damaged(
                f"{older.version_id} is not the parent of {version.version_id}",
                kind="bad-manifest",
            )
        version = older


def find(store: ObjectStore, collection: str, at: str = "") -> Version:
    """Give the version that a person names.

    Args:
        store: the vault's objects.
        collection: whose version.
        at: a version's number or id; empty for the newest.

    Raises:
        NotFound: ``no-version``.
    """
    newest = head(store, collection).version
    if newest is None:
        raise NotFound(
            f"{collection} has no version yet",
            kind="no-version",
            hint=f"chromaseal compact {collection}",
        )
    if not at:
        return newest
    if _PLAIN_ID.fullmatch(at):
        return load(store, collection, at)
    for version in lineage(store, collection):
        if at in (version.version_id, str(version.manifest.number)):
            return version
    raise NotFound(
        f"{collection} has no version {at!r}",
        kind="no-version",
        hint=f"chromaseal log {collection}",
    )
