"""Marks of runs that are not to be merged, and the fence that makes them final.

A mark is an object of its own beside a collection's versions, so that a lost ledger loses none,
and compactors look for it there.
What a version contains it contains, whatever is marked.
"""

from __future__ import annotations

from chromaseal import keys
from chromaseal.errors import Conflict, NotFound, Unavailable
from chromaseal.object_store import ObjectStore
from chromaseal.settle import put_once, swap
from chromaseal.snapshot.history import head, line, pointer
from chromaseal.snapshot.manifest import to_json

_FORMAT = "chromaseal.cancellation"
_ATTEMPTS = 5


def write_mark(store: ObjectStore, collection: str, run_id: str) -> None:
    """Store that a run is not to be merged; again changes nothing."""
    # Nothing but the name, so that the same mark has the same bytes, whoever stores it.
    body = to_json({"format": _FORMAT, "format_version": 1, "run_id": run_id})
    put_once(store, keys.cancellation(collection, run_id), body)


def delete_mark(store: ObjectStore, collection: str, run_id: str) -> None:
    """Let a run be merged again; nothing happens where it has no mark."""
    store.delete(keys.cancellation(collection, run_id))


def has_mark(store: ObjectStore, collection: str, run_id: str) -> bool:
    """Whether a run has a mark."""
    return store.head(keys.cancellation(collection, run_id)) is not None


def read_marks(store: ObjectStore, collection: str) -> frozenset[str]:
    """Give the ids of all runs with a mark."""
    found = (
        keys.parse_cancellation(info.key) for info in store.list(keys.cancellations(collection))
    )
    return frozenset(run_id for run_id in found if run_id is not None)


def fence(store: ObjectStore, collection: str) -> bool:
    """Let every attempt at a version that has read the pointer lose its race.

    The pointer says what it said, with a line feed more, so it has another tag. Who asks for
    the old one at its commit is refused, and begins again with what is true by now.

    Returns:
        False where there is no pointer, and so nothing was fenced.

    Raises:
        Damaged: the pointer cannot be read.
        Unavailable: ``unknown-outcome``.
    """
    key = keys.pointer(collection)
    for _ in range(_ATTEMPTS):
        try:
            found = store.get(key)
        except NotFound:
            return False
        try:
            swap(store, key, found.body + b"\n", etag=found.etag)
        except Conflict:
            # Whoever was first has given it another tag: as good as ours. But a store may also
            # refuse while another write is under way, of which nobody knows how it ends.
            if pointer(store, collection)[1] == found.etag:
                continue
        return True
    raise Unavailable(
        f"{key} was not moved: the store refused, though nobody else has moved it",
        kind="unknown-outcome",
        hint="run the same command again",
    )


def version_with(store: ObjectStore, collection: str, run_id: str) -> str:
    """Give the id of the version that merged a run; empty if none did.

    Raises:
        Damaged: head or history cannot be read.
    """
    newest = head(store, collection).version
    past = line(store, newest) if newest is not None else []
    for version in past:
        if any(run_id == merged for merged, _ in version.runs):
            return version.version_id
    return ""
