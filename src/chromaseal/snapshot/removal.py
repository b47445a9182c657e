"""What garbage collection has taken, or is about to take.

Each collection of garbage that removes versions first stores a record of them, which stays. So
a version that is missing can be told from one that was lost, and whoever tags a version finds
out that it is about to go.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from chromaseal import keys, pools
from chromaseal.errors import Damaged, NotFound
from chromaseal.object_store import ObjectStore
from chromaseal.settle import put_once
from chromaseal.snapshot.manifest import to_json
from chromaseal.snapshot.plain_types import check_list_format
from chromaseal.telemetry.emit import carried

_READS_AT_ONCE = 8
_FORMAT = "chromaseal.removal"


def write_removal(store: ObjectStore, collection: str, gc_id: str, ids: Iterable[str]) -> None:
    """Store which versions are about to go."""
    put_once(
        store,
        keys.gc(collection, gc_id),
        to_json({"format": _FORMAT, "format_version": 1, "versions": sorted(ids)}),
    )


def take_back(store: ObjectStore, collection: str, gc_id: str) -> None:
    """Remove a record whose versions stay after all."""
    store.delete(keys.gc(collection, gc_id))


def removed_versions(store: ObjectStore, collection: str) -> frozenset[str]:
    """Give the ids of all versions that were removed or are about to be.

    Raises:
        Damaged: ``bad-removal``.
    """
    found = [info.key for info in store.list(keys.gcs(collection))]
    with pools.pool(_READS_AT_ONCE) as pool:
        return frozenset().union(*pool.map(carried(functools.partial(_read, store)), found))


def removed(collection: str, version_id: str) -> NotFound:
    """Make the error for a version that is not there any more."""
    return NotFound(
        f"{version_id} of {collection} was removed by `chromaseal gc`",
        kind="removed-version",
        hint=f"chromaseal log {collection} shows which versions there are",
    )


def removed_or_going(store: ObjectStore, collection: str, version_id: str) -> NotFound:
    """Make the error for a version that a collector has announced, and may not have taken yet."""
    if store.head(keys.manifest(collection, version_id)) is None:
        return removed(collection, version_id)
    return NotFound(
        f"{version_id} of {collection} is about to be removed by `chromaseal gc`",
        kind="removed-version",
        hint=f"if no gc is at work: chromaseal gc {collection} ends what one that died began",
    )


@contextmanager
def removed_if_announced(store: ObjectStore, collection: str, version_id: str) -> Iterator[None]:
    """Tell a version that garbage collection took from one that was lost.

    Raises:
        NotFound: ``removed-version``, where something of the version is missing and it was taken.
    """
    try:
        yield
    except Damaged as error:
        if error.kind == "missing-object" and version_id in removed_versions(store, collection):
            raise removed(collection, version_id) from error
        raise


def _read(store: ObjectStore, key: str) -> frozenset[str]:
    try:
        raw = json.loads(store.get(key).body)
        check_list_format(key, raw, _FORMAT)
        return frozenset(map(str, raw["versions"]))
    except NotFound:
        # It was taken back between listing and reading.
        return frozenset()
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{key} cannot be read: {error}", kind="bad-removal") from error
