"""What a person calls a version -> the version: a number, an id, a tag, a time."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import TypeAlias

from chromaseal import keys
from chromaseal.clock import Clock, read_moment, to_iso
from chromaseal.errors import Damaged, NotFound
from chromaseal.object_store import ObjectStore
from chromaseal.snapshot.history import head, line, load
from chromaseal.snapshot.manifest import PastVersion, Version
from chromaseal.snapshot.removal import removed_if_announced
from chromaseal.snapshot.tags import read_tag

# A number may come as one, from Python.
VersionName: TypeAlias = str | int

_UNITS = {
    "seconds": ("s", "sec", "secs", "second", "seconds"),
    "minutes": ("m", "min", "mins", "minute", "minutes"),
    "hours": ("h", "hr", "hrs", "hour", "hours"),
    "days": ("d", "day", "days"),
    "weeks": ("w", "week", "weeks"),
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words}
_AGO = re.compile(rf"(\d+)\s*({'|'.join(_UNIT_OF)})\s+ago")
_NUMBER = re.compile(r"\d{1,9}")
_WHOLE_SECOND = re.compile(r"(:\d\d:\d\d|[T_ ]\d{6})(?![.,\d])")
_VERSION_ID = re.compile(r"\d{8}_\d{6}_\d{6}_.+")


def parse_moment(text: str, now: dt.datetime) -> dt.datetime | None:
    """Read a time as a person writes it.

    Args:
        text: ``2026-11-20``, ``2026-11-20T14:00``, with or without an offset (UTC without),
            or ``2 hours ago``.
        now: what ``ago`` counts from.

    Returns:
        The time, and of a second without a fraction its end: `log` shows the second in which a
        version was made, and that second then names it. None if the text is none.
    """
    ago = _AGO.fullmatch(text.strip().lower())
    try:
        if ago is not None:
            return now - dt.timedelta(**{_UNIT_OF[ago[2]]: int(ago[1])})
    except (ValueError, OverflowError):
        return None
    moment = read_moment(text)
    if moment is not None and _WHOLE_SECOND.search(text):
        moment = moment.replace(microsecond=999_999)
    return moment


def find(store: ObjectStore, collection: str, at: VersionName = "", *, clock: Clock) -> Version:
    """Give the version that a person names.

    Args:
        store: the vault's objects.
        collection: whose version.
        at: a number, an id, a tag, or a time, which means the version that was the newest
            then; empty for the newest.
        clock: what ``2 hours ago`` counts from.

    Raises:
        NotFound: ``no-version``, or ``removed-version``: garbage collection took it.
    """
    newest = head(store, collection).version
    if newest is None:
        raise NotFound(
            f"{collection} has no version yet",
            kind="no-version",
            hint=f"chromaseal push DIR {collection}, or chromaseal compact {collection}",
        )
    return find_before(store, newest, at, clock=clock)


def find_before(store: ObjectStore, newest: Version, at: VersionName, *, clock: Clock) -> Version:
    """Give the version that a person names, of those up to one of them.

    Args:
        store: the vault's objects.
        newest: the last one that counts.
        at: as for ``find``.
        clock: what ``2 hours ago`` counts from.

    Raises:
        NotFound: ``no-version`` or ``removed-version``.
    """
    at, collection = str(at), newest.manifest.collection
    if not at:
        return newest
    tagged = read_tag(store, collection, at)
    if tagged is not None:
        return _load_tagged(store, collection, at, tagged)
    version_id = _named(line(store, newest), at, clock, collection)
    if version_id == newest.version_id:
        return newest
    return load_kept(store, collection, version_id)


def load_kept(store: ObjectStore, collection: str, version_id: str) -> Version:
    """Read a version that garbage collection may have taken.

    Raises:
        NotFound: ``removed-version``.
        Damaged: the manifest is not what it should be.
    """
    with removed_if_announced(store, collection, version_id):
        return load(store, collection, version_id)


def _load_tagged(store: ObjectStore, collection: str, name: str, version_id: str) -> Version:
    try:
        return load_kept(store, collection, version_id)
    except Damaged as error:
        named = f"{keys.tag(collection, name)} names {version_id}: {error.message}"
        raise Damaged(named, kind=error.kind, hint=error.hint) from error


def _named(past: Sequence[PastVersion], at: str, clock: Clock, collection: str) -> str:
    if _NUMBER.fullmatch(at):
        if not 1 <= int(at) <= len(past):
            raise _no_version(collection, at, f"its versions are 1 to {len(past)}")
        return past[int(at) - 1].version_id
    if _VERSION_ID.fullmatch(at):
        if at not in {each.version_id for each in past}:
            raise _no_version(collection, at, f"chromaseal log {collection} shows their ids")
        return at
    moment = parse_moment(at, clock.now())
    if moment is None:
        raise _no_version(
            collection,
            at,
            "no tag has that name, and it is no number, no id and no time such as "
            "2026-11-20T14:00 or '2 hours ago'",
        )
    before = [each.version_id for each in past if each.created_at <= moment]
    if not before:
        raise _no_version(collection, at, f"its first version is of {to_iso(past[0].created_at)}")
    return before[-1]


def _no_version(collection: str, at: str, why: str) -> NotFound:
    return NotFound(
        f"{collection} has no version {at!r}: {why}",
        kind="no-version",
        hint=f"chromaseal log {collection} shows its versions and their tags",
    )
