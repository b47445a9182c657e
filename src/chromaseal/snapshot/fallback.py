"""The newest version that can be read, where the newest one cannot.

A bad version is never served: whoever only wants the newest gets the one before, and is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias, TypeVar

from chromaseal import keys
from chromaseal.errors import Damaged, NotFound
from chromaseal.object_store import ObjectStore
from chromaseal.snapshot.find import load_kept
from chromaseal.snapshot.history import head, line, load, pointer
from chromaseal.snapshot.manifest import PastVersion, Version
from chromaseal.snapshot.version_id import parse
from chromaseal.telemetry.emit import event
from chromaseal.telemetry.observer import Severity

_T = TypeVar("_T")

# Told the id of a version that cannot be served, and why.
Told: TypeAlias = Callable[[str, Damaged], None]


def tell_nobody(version_id: str, error: Damaged) -> None:
    """Tell nobody."""


def read_twice(read: Callable[[], _T]) -> _T:
    """Read once more what was damaged: the object may be sound, and one reading of it not.

    Whoever gives something up for being damaged reads like this.

    Args:
        read: what raises ``Damaged``.

    Raises:
        Damaged: it is, both times.
    """
    try:
        return read()
    except Damaged:
        return read()


def newest_readable(
    store: ObjectStore,
    collection: str,
    fetch: Callable[[Version], _T],
    *,
    told: Told = tell_nobody,
) -> tuple[Version, _T] | None:
    """Fetch the newest version that can be fetched whole.

    Args:
        store: the vault's objects.
        collection: whose version.
        fetch: fetches a version, with all digests, or raises ``Damaged``.
        told: called for each version that is passed over.

    Returns:
        The version and what ``fetch`` gave; None if the collection has no version.

    Raises:
        Damaged: none can; what is wrong with the newest.
    """
    while True:
        passed: list[tuple[str, Damaged]] = []
        for version in newest_first(store, collection, told=lambda *bad: passed.append(bad)):  # noqa: B023 - used up within this turn
            try:
                found = fetch(version)
            except Damaged as error:
                passed.append((version.version_id, error))
            else:
                for bad in passed:
                    _pass_over(told, *bad)
                return version, found
            if pointer(store, collection)[0] != passed[0][0]:
                # Another version came meanwhile, and garbage collection may have come after it.
                break
        else:
            if passed:
                raise passed[0][1]
            return None


def newest_first(
    store: ObjectStore, collection: str, *, told: Told = tell_nobody
) -> Iterator[Version]:
    """Give a collection's versions, the newest first, as far as their manifests can be read.

    Args:
        store: the vault's objects.
        collection: whose versions.
        told: called for each whose manifest cannot be read, but for those that garbage
            collection took.

    Raises:
        Damaged: the pointer is lost or holds no version id.
    """
    newest = _newest(store, collection, told)
    if newest is None:
        return
    yield newest
    for past in reversed(_line(store, newest)[:-1]):
        try:
            yield load_kept(store, collection, past.version_id)
        except NotFound:
            continue
        except Damaged as error:
            _pass_over(told, past.version_id, error)


def _newest(store: ObjectStore, collection: str, told: Told) -> Version | None:
    try:
        return head(store, collection).version
    except Damaged as error:
        version_id, _ = pointer(store, collection)
        if version_id is None:
            raise
        _pass_over(told, version_id, error)
        return before_lost(store, collection, version_id, error)


def before_lost(store: ObjectStore, collection: str, version_id: str, error: Damaged) -> Version:
    """Give the version before one whose manifest cannot be read.

    What a manifest says of its parent is lost with it. Attempts that lost a race leave manifests
    too, so it must be the only one of its number.

    Raises:
        Damaged: ``error``, where that cannot be told.
    """
    named = [keys.parse_manifest(info.key) for info in store.list(keys.manifests(collection))]
    lost = parse(version_id)
    older = [each[1] for each in named if each and parse(each[1]).number < lost.number]
    number = max((parse(each).number for each in older), default=0)
    newest = [each for each in older if parse(each).number == number]
    if len(newest) != 1:
        raise error
    try:
        return load(store, collection, newest[0])
    except Damaged:
        raise error from None


def _line(store: ObjectStore, newest: Version) -> list[PastVersion]:
    try:
        return line(store, newest)
    except Damaged:
        # A page of the history is lost: what the manifest itself says is left.
        return [*newest.manifest.past, newest.as_past]


def _pass_over(told: Told, version_id: str, error: Damaged) -> None:
    event("version refused", Severity.WARNING, version_id=version_id, reason=error.kind)
    told(version_id, error)
