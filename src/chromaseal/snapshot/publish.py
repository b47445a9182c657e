"""VerifiedSnapshot -> the next version: layers, manifest, pointer, in this order.

Every step stores whole, checked objects under names never used before; until the pointer moves
nothing refers to them, so a process that dies on any line leaves the collection as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chromaseal import keys
from chromaseal.clock import Clock, to_iso
from chromaseal.digests import DIGEST_SIZE_BYTES, PAGE_SIZE_BYTES
from chromaseal.embedding import ModelPin
from chromaseal.errors import Conflict
from chromaseal.ids import Ids
from chromaseal.object_store import ObjectStore
from chromaseal.sandbox import Progress, no_progress
from chromaseal.seal.sealed import Sealed, SealedFile
from chromaseal.seal.verify import VerifiedSnapshot
from chromaseal.settle import put_once, swap
from chromaseal.snapshot.history import Head
from chromaseal.snapshot.layer import CHUNK_PAGES, LayerWriter
from chromaseal.snapshot.manifest import LayerEntry, Manifest, MergedRun, Version, encode
from chromaseal.snapshot.version_id import stamp_after

# What one request can carry over a slow line before it times out.
LAYER_LIMIT_BYTES = 32 << 20
_UPLOADS_AT_ONCE = 4
_CHUNK_BYTES = CHUNK_PAGES * PAGE_SIZE_BYTES


@dataclass(frozen=True, slots=True)
class Draft:
    """What a version is to say beside its content.

    Attributes:
        collection: whose version it is.
        head: the pointer as it was when the work began; it must not have moved.
        model: the model of the vectors, if it is known.
        runs: every run that the version contains.
        writer: name, release and host of who makes it.
    """

    collection: str
    head: Head
    model: ModelPin | None
    runs: tuple[MergedRun, ...]
    writer: dict[str, str]

    @property
    def number(self) -> int:
        """Give the new version's number."""
        return 1 if self.head.version is None else self.head.version.manifest.number + 1


def publish(
    store: ObjectStore,
    snapshot: VerifiedSnapshot,
    draft: Draft,
    *,
    clock: Clock,
    ids: Ids,
    progress: Progress | None = None,
) -> Version:
    """Store a verified directory as the next version of its collection.

    Raises:
        Conflict: ``lost-race``, another version was published first; apply the runs to it.
        Conflict: ``changed-while-reading``, the directory is not what was sealed.
        Unavailable: the store did not answer; nothing refers to what was stored.
    """
    attempt = ids.unique()
    layers = _store_layers(store, snapshot.sealed, draft, attempt, progress or no_progress)
    version, body = encode(_manifest(snapshot, draft, attempt, layers, clock))
    put_once(store, keys.manifest(draft.collection, version.version_id), body)
    swap(store, keys.pointer(draft.collection), version.version_id.encode(), etag=draft.head.etag)
    return version


def _manifest(
    snapshot: VerifiedSnapshot,
    draft: Draft,
    attempt: str,
    layers: tuple[LayerEntry, ...],
    clock: Clock,
) -> Manifest:
    parent = draft.head.version
    created_at = stamp_after(clock.now(), parent.version_id if parent else None)
    return Manifest(
        collection=draft.collection,
        number=draft.number,
        created_at=to_iso(created_at),
        attempt=attempt,
        parent=parent.as_parent if parent else None,
        writer=draft.writer,
        model=draft.model,
        records=snapshot.records,
        runs=tuple(sorted(draft.runs, key=lambda run: run.order)),
        files=tuple(file.entry for file in snapshot.sealed.files),
        layers=layers,
        checks=snapshot.checks,
    )


def _store_layers(
    store: ObjectStore, sealed: Sealed, draft: Draft, attempt: str, progress: Progress
) -> tuple[LayerEntry, ...]:
    total, done = sealed.size_bytes, 0
    entries: list[LayerEntry] = []

    def store_one(layer: tuple[LayerEntry, bytes]) -> LayerEntry:
        entry, body = layer
        put_once(store, keys.layer(draft.collection, entry.layer_id), body)
        return entry

    with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
        waiting = []
        for layer, packed_bytes in _layers(sealed, attempt):
            waiting.append(pool.submit(store_one, layer))
            # Packing runs ahead of the uploads by a few layers, not by a whole directory.
            if len(waiting) >= _UPLOADS_AT_ONCE:
                entries.append(waiting.pop(0).result())
            done += packed_bytes
            progress(done, total)
        entries.extend(each.result() for each in waiting)
    return tuple(entries)


def _layers(sealed: Sealed, attempt: str) -> Iterator[tuple[tuple[LayerEntry, bytes], int]]:
    """Pack a directory into base layers of bounded size."""
    writer, number, packed_bytes = LayerWriter(), 0, 0
    for path, first_page, pages, expected in _chunks(sealed):
        if writer.add(path, first_page, pages) != expected:
            raise Conflict(
                f"{sealed.directory / path} is not what was sealed", kind="changed-while-reading"
            )
        packed_bytes += len(pages)
        if writer.size_bytes >= LAYER_LIMIT_BYTES:
            yield writer.finish(f"{attempt}-{number}", "base"), packed_bytes
            writer, number, packed_bytes = LayerWriter(), number + 1, 0
    yield writer.finish(f"{attempt}-{number}", "base"), packed_bytes


def _chunks(sealed: Sealed) -> Iterator[tuple[str, int, bytes, bytes]]:
    for file in sealed.files:
        yield from _file_chunks(sealed.directory, file)


def _file_chunks(directory: Path, file: SealedFile) -> Iterator[tuple[str, int, bytes, bytes]]:
    with (directory / file.path).open("rb") as content:
        first_page = 0
        while pages := content.read(_CHUNK_BYTES):
            start = first_page * DIGEST_SIZE_BYTES
            expected = file.digests[start : start + CHUNK_PAGES * DIGEST_SIZE_BYTES]
            yield file.path, first_page, pages, expected
            first_page += CHUNK_PAGES
        if content.tell() != file.size_bytes:
            raise Conflict(
                f"{directory / file.path} is not what was sealed", kind="changed-while-reading"
            )
