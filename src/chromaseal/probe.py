"""A new vault's store -> proof that it keeps the conditions of writes, or a refusal.

A store that ignores ``If-None-Match`` or ``If-Match`` takes every write and says so; two writers
would lose each other's work without an error anywhere. So before a prefix becomes a vault, the
store has to refuse what it must refuse. Only what the store itself has answered counts: where an
answer is missing, or the bytes that come back are nobody's, the outcome is open.
"""

from __future__ import annotations

import contextlib

from chromaseal import keys
from chromaseal.errors import Conflict, NotFound, Unavailable, Unsupported
from chromaseal.ids import Ids
from chromaseal.object_store import ObjectStore, StoredObject
from chromaseal.settle import put_once


def refuse_unconditional(store: ObjectStore, ids: Ids) -> None:
    """Try conditional writes on an object of this call's own, and remove it.

    Raises:
        Unsupported: ``no-conditional-writes``, the store did what it must not do.
        Unavailable: the store did not answer, or not so that anything is proved.
    """
    unique = ids.unique()
    key = keys.probe(unique)
    first, second, third = (f"{unique} {name}".encode() for name in ("one", "two", "three"))
    try:
        _create(store, key, first)
        seen = _check_second_create(store, key, first, second)
        _check_replace(store, key, seen, second)
        _check_stale_replace(store, key, seen, second, third)
    finally:
        # What is left behind does no harm, and a user may be allowed to write but not to delete.
        with contextlib.suppress(Unavailable):
            store.delete(key)


def _create(store: ObjectStore, key: str, body: bytes) -> None:
    try:
        put_once(store, key, body)
    except Conflict as error:
        # Nobody else knows the key, so these bytes came back wrong.
        raise _open(store) from error


def _check_second_create(store: ObjectStore, key: str, first: bytes, second: bytes) -> StoredObject:
    try:
        store.create(key, second)
    except Conflict:
        found = _read(store, key)
        if found.body == second:
            raise _refusal(store, "create overwrote an object that was there") from None
        if found.body != first:
            raise _open(store) from None
        return found
    raise _refusal(store, "a second create of one object was accepted")


def _check_replace(store: ObjectStore, key: str, seen: StoredObject, body: bytes) -> None:
    try:
        store.replace(key, body, etag=seen.etag)
    except Conflict:
        found = _read(store, key)
        if found == seen:
            raise _refusal(store, "a replace with the right tag was refused") from None
        if found.body != body:
            raise _open(store) from None
        # It landed; a retry on the way met it there.


def _check_stale_replace(
    store: ObjectStore, key: str, seen: StoredObject, now: bytes, body: bytes
) -> None:
    try:
        store.replace(key, body, etag=seen.etag)
    except Conflict:
        found = _read(store, key)
        if found.body == body:
            raise _refusal(store, "replace overwrote an object that had changed") from None
        if found.body != now:
            raise _open(store) from None
        return
    raise _refusal(store, "a replace with the tag of an older content was accepted")


def _read(store: ObjectStore, key: str) -> StoredObject:
    try:
        return store.get(key)
    except NotFound as error:
        raise _open(store) from error


def _refusal(store: ObjectStore, failed: str) -> Unsupported:
    return Unsupported(
        f"{store.url} does not keep the conditions of writes ({failed}); "
        "two writers would overwrite each other's work there, so it cannot hold a vault",
        kind="no-conditional-writes",
        hint="use Amazon S3, Google Cloud Storage, Azure, SeaweedFS 4.48 or newer, or a local "
        "directory; a newer release of this store, or no proxy in front of it, may also help",
    )


def _open(store: ObjectStore) -> Unavailable:
    return Unavailable(
        f"{store.url} gave back what nobody wrote while its conditional writes were tried",
        kind="unknown-outcome",
        hint="run the same command again",
    )
