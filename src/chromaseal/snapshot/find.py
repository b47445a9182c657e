"""What a person calls a version -> the version: a number, an id, a tag, a time."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

from chromaseal import keys
from chromaseal.clock import Clock
from chromaseal.errors import Damaged, NotFound
from chromaseal.object_store import ObjectStore
from chromaseal.snapshot.history import head, line, load
from chromaseal.snapshot.manifest import PastVersion, Version
from chromaseal.snapshot.removal import removed_if_announced
from chromaseal.snapshot.tags import read_tag

_AGO = re.compile(r"(\d+)\s*(second|minute|hour|day|week)s?\s+ago")
_NUMBER = re.compile(r"\d{1,9}")
_VERSION_ID = re.compile(r"\d{8}_\d{6}_\d{6}_.+")


def parse_moment(text: str, now: dt.datetime) -> dt.datetime | None:
    """Read a time as a person writes it.

    Args:
        text: ``2026-11-20``, ``2026-11-20T14:00``, with or without an offset (UTC without),
            or ``2 hours ago``.
        now: what ``ago`` counts from.

    Returns:
        The time; None if the text is none.
    """
    ago = _AGO.fullmatch(text.strip().lower())
    try:
        if ago is not None:
            return now - dt.timedelta(**{f"{ago[2]}s": int(ago[1])})
        moment = dt.datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def find(store: ObjectStore, collection: str, at: str = "", *, clock: Clock) -> Version:
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
    if not at:
        return newest
    tagged = read_tag(store, collection, at)
    if tagged is not None:
        return _load_tagged(store, collection, at, tagged)
    version_id = _named(store, newest, at, clock)
    if version_id is None:
        raise _no_version(collection, at)
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


def _named(store: ObjectStore, newest: Version, at: str, clock: Clock) -> str | None:
    past = line(store, newest)
    if _NUMBER.fullmatch(at):
        return next((each.version_id for each in past if each.number == int(at)), None)
    if _VERSION_ID.fullmatch(at):
        return next((each.version_id for each in past if each.version_id == at), None)
    moment = parse_moment(at, clock.now())
    return None if moment is None else _newest_at(past, moment)


def _newest_at(past: Sequence[PastVersion], moment: dt.datetime) -> str | None:
    before = [each.version_id for each in past if each.created_at <= moment]
    return before[-1] if before else None


def _no_version(collection: str, at: str) -> NotFound:
    return NotFound(
        f"{collection} has no version {at!r}",
        kind="no-version",
        hint=f"a number, an id, a tag or a time such as 2026-11-20T14:00 or '2 hours ago'; "
        f"chromaseal log {collection}",
    )
