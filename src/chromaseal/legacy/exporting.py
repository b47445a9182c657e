"""A version -> a snapshot in the existing pipeline's layout, for its readers.

verified copy -> every file, put once -> hash -> pointer, by compare-and-swap, from an older id to
a newer one only. Readers of every release of the pipeline take single files where there is no
archive, so these are written. An id is made of the version's, so that whoever comes again finds
what was stored and goes on.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from chromaseal.clock import from_iso
from chromaseal.errors import Conflict, NotFound, Unsupported
from chromaseal.legacy import keys
from chromaseal.legacy.bucket import refuse_vault
from chromaseal.object_store import ObjectStore
from chromaseal.parts import Parts
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.settle import put_once, swap
from chromaseal.snapshot.manifest import Manifest, Version
from chromaseal.snapshot.races import Backoff, until_won
from chromaseal.snapshot.version_id import parse

# As many as the pipeline's own writers keep.
KEPT_SNAPSHOTS = 4
# What S3 takes in one put, and only one put can be conditional.
_LARGEST_BYTES = 5 << 30
# Somebody else moves it there once per compaction at most.
_BACKOFF = Backoff(attempts=20, first_wait_s=0.05, longest_wait_s=2.0)


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of an export.

    Attributes:
        version: which.
        snapshot_id: the id that it has in the old layout.
        url: where that is.
        new: False if the pointer named it already.
        stored_bytes: that were stored.
    """

    version: Version
    snapshot_id: str
    url: str
    new: bool
    stored_bytes: int = 0


def export(
    parts: Parts,
    version: Version,
    store: ObjectStore,
    *,
    progress: StepProgress = no_step_progress,
) -> Exported:
    """Write a version in the old layout, and let the pointer name it.

    Args:
        parts: what the vault consists of.
        version: which.
        store: the bucket of the existing pipeline, or an empty one.
        progress: called with the step, and how much of it is done, of how much.

    Raises:
        UsageError: ``is-a-vault``.
        Conflict: ``newer-there``, the pointer names a newer snapshot; ``different-content``,
            another object has one of the keys.
        Damaged: the version cannot be fetched whole.
        Unsupported: ``too-large``.
        Unavailable: the bucket did not answer; the same call goes on.
    """
    refuse_vault(store)
    manifest = version.manifest
    snapshot_id = parse(version.version_id).existing_name
    done = Exported(version, snapshot_id, store.url, new=False)
    if _pointer(store, manifest.collection, snapshot_id)[0] == snapshot_id:
        return done
    _refuse_too_large(manifest)
    with parts.checkouts.workspace() as workspace:
        directory = workspace / "directory"
        fetch = functools.partial(progress, "fetch")
        parts.checkouts.copy(version, directory, progress=fetch)
        stored_bytes = _store_files(store, manifest, snapshot_id, directory, progress)
    moved = _move_pointer(parts, store, manifest.collection, snapshot_id)
    return Exported(version, snapshot_id, store.url, new=moved, stored_bytes=stored_bytes)


def trim(store: ObjectStore, collection: str, exported: Collection[str]) -> list[str]:
    """Remove snapshots that were exported and that readers have long left, as old writers do.

    The newest four and the one that the pointer names stay, and all that somebody else wrote.

    Args:
        store: the bucket.
        collection: whose snapshots.
        exported: ids of the snapshots that may be removed.

    Returns:
        The ids of those that were.
    """
    listed = [info.key for info in store.list(keys.snapshots(collection))]
    ids = sorted({i for key in listed if (i := keys.snapshot_id_of(key))}, reverse=True)
    named = _read(store, collection)[0]
    older = [i for i in ids if named is not None and i < named]
    kept = {i for i in ids if i not in older} | set(older[: KEPT_SNAPSHOTS - 1])
    gone = [i for i in ids if i in exported and i not in kept]
    doomed = [key for key in listed if keys.snapshot_id_of(key) in gone]
    for key in doomed:
        store.delete(key)
    return gone


def directory_hash(manifest: Manifest) -> str:
    """Give the body of ``.snapshot_hash`` for a snapshot that lies there file by file.

    Old writers hash path, size and time of every file; the time here is that of the version.
    """
    at_s = from_iso(manifest.created_at).timestamp()
    lines = (f"{file.path}:{file.size_bytes}:{at_s}" for file in manifest.files)
    return f"md5:{hashlib.md5(''.join(lines).encode(), usedforsecurity=False).hexdigest()}"


def _store_files(
    store: ObjectStore,
    manifest: Manifest,
    snapshot_id: str,
    directory: Path,
    progress: StepProgress,
) -> int:
    prefix = keys.snapshot(manifest.collection, snapshot_id)
    stored_bytes = done_bytes = 0
    for file in manifest.files:
        progress("store", done_bytes, manifest.size_bytes)
        if put_once(store, f"{prefix}{file.path}", (directory / file.path).read_bytes()):
            stored_bytes += file.size_bytes
        done_bytes += file.size_bytes
    put_once(store, f"{prefix}{keys.HASH}", directory_hash(manifest).encode())
    return stored_bytes


def _move_pointer(parts: Parts, store: ObjectStore, collection: str, snapshot_id: str) -> bool:
    """Let the pointer name a snapshot; tell whether it did not before."""

    def move(_lost_races: int) -> bool:
        named, etag = _pointer(store, collection, snapshot_id)
        if named == snapshot_id:
            return False
        swap(store, keys.pointer(collection), snapshot_id.encode(), etag=etag)
        return True

    return until_won(
        move,
        collection,
        _BACKOFF,
        clock=parts.clock,
        ids=parts.ids,
        hint="stop the compactor of the existing pipeline, which still writes there",
    )


def _pointer(
    store: ObjectStore, collection: str, snapshot_id: str
) -> tuple[str | None, str | None]:
    """Give what the pointer names, and its tag; refuse one that is newer.

    Raises:
        Conflict: ``newer-there``.
    """
    named, etag = _read(store, collection)
    if named is not None and named > snapshot_id:
        raise Conflict(
            f"{collection} in {store.url} is at snapshot {named}, which is newer than "
            f"{snapshot_id}: readers would go back",
            kind="newer-there",
            hint=f"chromaseal rollback {collection} VERSION makes an older content the newest, "
            "which can be exported; stop the existing pipeline's compactor first",
        )
    return named, etag


def _read(store: ObjectStore, collection: str) -> tuple[str | None, str | None]:
    try:
        found = store.get(keys.pointer(collection))
    except NotFound:
        return None, None
    return found.body.decode(errors="replace").strip(), found.etag


def _refuse_too_large(manifest: Manifest) -> None:
    large = max(manifest.files, key=lambda file: file.size_bytes)
    if large.size_bytes > _LARGEST_BYTES:
        raise Unsupported(
            f"{large.path} of {manifest.collection} has {large.size_bytes} bytes, and one put "
            f"takes {_LARGEST_BYTES}",
            kind="too-large",
            hint="let its readers follow the vault: chromaseal follow or chromaseal pull",
        )
