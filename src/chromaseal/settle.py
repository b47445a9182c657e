"""Conditional writes whose lost replies are settled by reading back.

A conditional write can land while its reply is lost; the store then answers a retry with
"already there". Measured: every client library reports such a write as failed. So after
anything but a clear success the object is read, and the answer is one of mine, not mine, or
unknown; it is never guessed. That needs no store metadata: an immutable object is mine if its
bytes are, and the pointer's body is a version id that nobody else can have made.
"""

from __future__ import annotations

from chromaseal.errors import ChromasealError, Conflict, NotFound, Unavailable
from chromaseal.object_store import ObjectStore, StoredObject
from chromaseal.telemetry.emit import event
from chromaseal.telemetry.observer import Severity

# A store that says so has done nothing, and will not.
_NEVER_DONE = ("store-full", "store-refuses")


def put_once(store: ObjectStore, key: str, body: bytes | memoryview) -> bool:
    """Store an immutable object, once, whatever happens to the replies.

    Returns:
        True if this call stored it, False if the same bytes were there already (or this
        call's own write came back as "already there": the two cannot be told apart and need
        not be).

    Raises:
        Conflict: ``different-content``, another content is stored under that key.
        Unavailable: ``unknown-outcome``, the store did not answer; the same call may be
            repeated at any time. ``store-full`` or ``store-refuses``, it was not stored.
    """
    try:
        store.create(key, body)
    except (Conflict, Unavailable) as error:
        found = _read_back(store, key, error)
        mine = found is not None and found.body == bytes(body)
        _tell(error, key, "mine" if mine else "not mine" if found else "unmoved")
        if found is None:
            raise Unavailable(
                f"{key} was not stored: {error.message}",
                kind=_kind(error),
                hint=error.hint or "run the same command again; nothing is half done",
            ) from error
        if not mine:
            raise Conflict(
                f"{key} is there with another content", kind="different-content"
            ) from error
        return False
    return True


def swap(store: ObjectStore, key: str, body: bytes, *, etag: str | None) -> None:
    """Move the pointer from what ``etag`` names (None: from nothing) to ``body``.

    Raises:
        Conflict: ``lost-race``, somebody else moved it first.
        Unavailable: ``unknown-outcome``, the store did not answer, not even to the reading
            back; whether the pointer moved is open. ``store-full`` or ``store-refuses``, it has
            not.
    """
    try:
        if etag is None:
            store.create(key, body)
        else:
            store.replace(key, body, etag=etag)
    except (Conflict, Unavailable) as error:
        found = _read_back(store, key, error)
        mine = found is not None and found.body == body
        unmoved = found.etag == etag if found is not None else etag is None
        _tell(error, key, "mine" if mine else "unmoved" if unmoved else "not mine")
        if mine:
            return
        if isinstance(error, Unavailable) and unmoved:
            raise Unavailable(
                f"{key} was not moved: {error.message}",
                kind=_kind(error),
                hint=error.hint or "run the same command again; a version is committed only once",
            ) from error
        raise Conflict(
            f"somebody else moved {key} first",
            kind="lost-race",
            hint="run the same command again; it begins with what is there now",
        ) from error


def _kind(error: ChromasealError) -> str:
    """Say of a write that is not there whether it may still come."""
    return error.kind if error.kind in _NEVER_DONE else "unknown-outcome"


def _tell(error: ChromasealError, key: str, settled: str) -> None:
    # That an object is there already is an answer.
    severity = Severity.WARNING if isinstance(error, Unavailable) else Severity.DEBUG
    event("reply settled", severity, key=key, reason=error.kind, settled=settled)


def _read_back(store: ObjectStore, key: str, cause: ChromasealError) -> StoredObject | None:
    try:
        return store.get(key)
    except NotFound:
        return None
    except Unavailable as error:
        raise Unavailable(
            f"{key}: the write was not answered ({cause.message}) "
            f"and could not be read back ({error.message})",
            kind="unknown-outcome",
            hint="run the same command again once the store answers",
        ) from error
