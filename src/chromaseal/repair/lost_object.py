"""A pointer or a pin that is lost -> put back from what else the vault has, or a reason why not.

Neither is ever written over a sound one: what is missing is created, and a pointer that names
nothing is swapped for exactly the bytes that were found in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chromaseal import keys
from chromaseal.errors import ChromasealError, Conflict, Damaged, NotFound
from chromaseal.object_store import ObjectStore
from chromaseal.parts import Parts
from chromaseal.pin import DEFAULT_SPACE, CollectionPin, pin_collection, read_pin
from chromaseal.run.model import RunState
from chromaseal.settle import swap
from chromaseal.snapshot.fallback import newest_first
from chromaseal.snapshot.history import line, load
from chromaseal.snapshot.manifest import Version
from chromaseal.snapshot.removal import removed_versions
from chromaseal.snapshot.tags import read_tags
from chromaseal.snapshot.version_id import parse

_ALL = 1_000_000
_MORE_THAN_FENCES = 100
_LINE_FEEDS = 4_000


@dataclass(frozen=True, slots=True)
class _Pointer:
    """What there is of a pointer that names nothing."""

    etag: str | None
    problem: str


def put_back_pointer(parts: Parts, collection: str, *, dry_run: bool) -> tuple[str, ...]:
    """Point at the newest version again, where the pointer is missing or names nothing.

    Raises:
        Damaged: ``cannot-repair``, which version was the newest cannot be proved.
        Conflict: ``lost-race``, somebody else has put it back, or published.
    """
    found = _names_nothing(parts.store, collection)
    if found is None:
        return ()
    versions = _listed(parts.store, collection)
    if found.etag is None and not versions:
        return ()
    try:
        newest = _newest_whole(parts, collection, versions, found)
    except Damaged:
        if _names_nothing(parts.store, collection) == found:
            raise
        raise Conflict(
            f"{keys.pointer(collection)} has come while it was looked for",
            kind="lost-race",
            hint="run the same command again; it begins with what is there now",
        ) from None
    if not dry_run:
        body = newest.version_id.encode() + b"\n" * _line_feeds(parts)
        swap(parts.store, keys.pointer(collection), body, etag=found.etag)
    number = newest.manifest.number
    told = f"version {number} ({newest.version_id}), the newest whose manifest is there and whole"
    return (f"{keys.pointer(collection)}: {told}",)


def _line_feeds(parts: Parts) -> int:
    """Give how many line feeds follow the id, so that no pointer to it was ever the same.

    Where tags go by content, whoever has read the pointer before it was fenced and lost would
    else find its old tag again. Fences add one line feed each.
    """
    return _MORE_THAN_FENCES + int(parts.ids.fraction() * _LINE_FEEDS)


def _names_nothing(store: ObjectStore, collection: str) -> _Pointer | None:
    key = keys.pointer(collection)
    try:
        found = store.get(key)
    except NotFound:
        return _Pointer(None, f"{key} is missing")
    try:
        parse(found.body.decode("utf-8", "replace").strip())
    except Damaged as error:
        return _Pointer(found.etag, f"{key}: {error.message}")
    return None


def _listed(store: ObjectStore, collection: str) -> list[str]:
    """Give the ids of all manifests that nobody removed or is about to."""
    gone = removed_versions(store, collection)
    found = (keys.parse_manifest(info.key) for info in store.list(keys.manifests(collection)))
    return sorted(each[1] for each in found if each and each[1] not in gone)


def _newest_whole(
    parts: Parts, collection: str, versions: Sequence[str], found: _Pointer
) -> Version:
    number = max((parse(each).number for each in versions), default=0)
    candidates = [each for each in versions if parse(each).number == number]
    if len(candidates) != 1:
        named = ", ".join(candidates)
        why = f"there are several versions {number}, of which at most one counts: {named}"
        raise _cannot(collection, found, why if candidates else "there is no manifest of a version")
    try:
        newest = load(parts.store, collection, candidates[0])
        past = {each.version_id for each in line(parts.store, newest)}
    except Damaged as error:
        why = f"version {number}, which may be the newest, cannot be read: {error.message}"
        raise _cannot(collection, found, why) from error
    later = sorted(each for each in _witnesses(parts, collection) - past if _later(each, number))
    if later:
        raise _cannot(collection, found, f"there has been a later version, {later[-1]}")
    return newest


def _witnesses(parts: Parts, collection: str) -> set[str]:
    """Give the ids of versions that tags, the ledger and this machine know of."""
    known = set(read_tags(parts.store, collection).values())
    folder = parts.checkouts.folder(collection)
    if folder.is_dir():
        known.update(path.name for path in folder.iterdir())
    try:
        done = parts.ledger.newest(collection=collection, state=RunState.COMPLETED, limit=_ALL)
    except ChromasealError:
        # Without a ledger there is one witness less.
        return known
    return known | {run.parts[collection].version_id for run in done}


def _later(name: str, number: int) -> bool:
    try:
        return parse(name).number >= number
    except Damaged:
        return False


def _cannot(collection: str, found: _Pointer, why: str) -> Damaged:
    return Damaged(
        f"{found.problem}, and which version was the newest cannot be proved: {why}",
        kind="cannot-repair",
        hint=f"bring {keys.pointer(collection)} back from a backup of the vault: its body is the "
        "id of the newest version, nothing else; if there never was one, chromaseal compact "
        f"{collection} makes the first",
    )


def put_back_pin(parts: Parts, collection: str, *, dry_run: bool) -> tuple[str, ...]:
    """Pin a collection again to what its newest version is.

    Raises:
        Damaged: ``cannot-repair``, no version says what it was pinned to.
    """
    if read_pin(parts.store, collection) is not None:
        return ()
    key = keys.collection(collection)
    version = next(newest_first(parts.store, collection), None)
    if version is None:
        if next(iter(parts.store.list(keys.everything(collection))), None) is None:
            return ()
        raise Damaged(
            f"{key} is missing, and no version says what {collection} was pinned to",
            kind="cannot-repair",
            hint=f"bring {key} back from a backup of the vault; or write to {collection} once "
            "more, with its model and distance, which pins it anew",
        )
    pin = _pin_of(version)
    if not dry_run:
        pin_collection(parts.store, pin)
    told = f"{pin.dimension} dimensions, {pin.space}, {pin.model or 'no model named'}"
    return (f"{key}: {told}, as version {version.manifest.number} has it",)


def _pin_of(version: Version) -> CollectionPin:
    manifest = version.manifest
    name = manifest.collection
    own: Iterable[CollectionPin] = (
        CollectionPin(name, each.dimension or 0, each.space, manifest.model)
        for each in manifest.collections
        if each.name == name
    )
    # A directory that was pushed may have collections of any name.
    return next(iter(own), CollectionPin(name, 0, DEFAULT_SPACE, manifest.model))
