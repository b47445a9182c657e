"""Layers in the object store: frames -> parts -> objects, and back."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from chromaseal import keys, pools
from chromaseal.errors import Damaged, Interrupted, NotFound
from chromaseal.object_store import ObjectStore
from chromaseal.sandbox import Progress, no_progress
from chromaseal.settle import put_once
from chromaseal.snapshot.layer import (
    Frame,
    PackedPages,
    Pages,
    PartWriter,
    bad_layer,
    read_frame,
    read_tail,
)
from chromaseal.snapshot.manifest import LayerEntry, PartEntry
from chromaseal.telemetry.emit import carried, step

# What one request can carry over a slow line before it times out.
PART_LIMIT_BYTES = 32 << 20
RANGE_BYTES = 8 << 20
# A range is unpacked as a whole, and an index page may shrink a hundred times as XOR.
_CONTENT_BYTES = 32 << 20
_UPLOADS_AT_ONCE = 4
_FETCHES_AT_ONCE = 8


def store_parts(
    store: ObjectStore,
    collection: str,
    layer_id: str,
    frames: Iterable[PackedPages],
    *,
    total_bytes: int = 0,
    progress: Progress = no_progress,
) -> tuple[PartEntry, ...]:
    """Store a layer's frames as objects of bounded size.

    Args:
        store: the vault's objects.
        collection: whose layer.
        layer_id: a name that nobody else uses.
        frames: what is in it; made while earlier parts are on their way.
        total_bytes: of all pages, for the progress.
        progress: called with packed and all bytes.

    Raises:
        Interrupted: whoever handed this over to a thread was stopped, or failed.
        Unavailable: the store did not answer.
    """
    entries: list[PartEntry] = []
    waiting: list[Future[PartEntry]] = []

    def put(entry: PartEntry, body: bytes, number: int) -> PartEntry:
        put_once(store, keys.layer_part(collection, layer_id, number), body)
        return entry

    with (
        step("store layer", collection=collection, layer=layer_id) as told,
        pools.pool(_UPLOADS_AT_ONCE) as pool,
    ):
        store_part = carried(put)
        needed = _while_needed(frames, layer_id)
        for number, (entry, body, packed_bytes) in enumerate(_parts(needed)):
            waiting.append(pool.submit(store_part, entry, body, number))
            # Packing runs ahead of the uploads by a few parts, not by a whole directory.
            if len(waiting) >= _UPLOADS_AT_ONCE:
                entries.append(waiting.pop(0).result())
            progress(packed_bytes, total_bytes)
        entries.extend(each.result() for each in waiting)
        told.note(parts=len(entries), size_bytes=sum(entry.size_bytes for entry in entries))
    return tuple(entries)


def _while_needed(frames: Iterable[PackedPages], layer_id: str) -> Iterator[PackedPages]:
    # Of pages that hardly changed, gigabytes may go into a single part.
    for frame in frames:
        if pools.is_given_up():
            raise Interrupted(f"{layer_id} is not needed any more")
        yield frame


def _parts(frames: Iterable[PackedPages]) -> Iterator[tuple[PartEntry, bytes, int]]:
    writer, packed_bytes = PartWriter(), 0
    for frame in frames:
        writer.add(frame)
        packed_bytes += frame.size_bytes
        if writer.size_bytes >= PART_LIMIT_BYTES:
            yield *writer.finish(), packed_bytes
            writer = PartWriter()
    if writer.size_bytes:
        yield *writer.finish(), packed_bytes


@dataclass(frozen=True, slots=True)
class OpenPart:
    """A stored part whose frames are known.

    Attributes:
        key: of the object.
        frames: what is in it, in the order in which it stands there.
        entry: what the manifest says of it.
    """

    key: str
    entry: PartEntry
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class OpenLayer:
    """A stored layer whose frames are known."""

    entry: LayerEntry
    parts: tuple[OpenPart, ...]


def touched_pages(layers: Iterable[OpenLayer]) -> dict[str, Pages]:
    """Give by path the pages that any of some layers has, ascending."""
    found: dict[str, list[Pages]] = {}
    for layer in layers:
        for part in layer.parts:
            for frame in part.frames:
                found.setdefault(frame.path, []).append(frame.pages)
    return {path: np.unique(np.concatenate(pages)) for path, pages in found.items()}


@dataclass(frozen=True, slots=True)
class Fetched:
    """Neighbouring frames of one part, with what is in them.

    Attributes:
        layer: the number of the layer among those that are read.
        part: where they are from.
        frames: each frame with its content, checked.
        size_bytes: that were fetched.
    """

    layer: int
    part: OpenPart
    frames: tuple[tuple[Frame, bytes], ...]
    size_bytes: int


class LayerReader:
    """Reads layers; use as a context manager.

    Args:
        store: the vault's objects.
        collection: whose layers.
    """

    def __init__(self, store: ObjectStore, collection: str) -> None:
        self._store = store
        self._collection = collection
        self._pool = pools.pool(_FETCHES_AT_ONCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool.__exit__(kind, error, trace)

    def open(self, layers: Iterable[LayerEntry]) -> list[OpenLayer]:
        """Read where the frames of layers are.

        Raises:
            Damaged: ``bad-layer`` or ``missing-object``.
        """
        wanted = [(layer, n, part) for layer in layers for n, part in enumerate(layer.parts)]
        tails = (
            self._pool.map(carried(self._open_part), *zip(*wanted, strict=True)) if wanted else ()
        )
        found: dict[str, list[OpenPart]] = {layer.layer_id: [] for layer in layers}
        for (layer, _, _), part in zip(wanted, tails, strict=True):
            found[layer.layer_id].append(part)
        return [OpenLayer(layer, tuple(found[layer.layer_id])) for layer in layers]

    def _open_part(self, layer: LayerEntry, number: int, entry: PartEntry) -> OpenPart:
        key = keys.layer_part(self._collection, layer.layer_id, number)
        tail = self._range(key, entry.tail_offset, entry.size_bytes - entry.tail_offset)
        return OpenPart(key, entry, tuple(read_tail(key, entry, tail)))

    def fetch(self, layers: Iterable[OpenLayer]) -> Iterator[Fetched]:
        """Fetch every frame of layers, in order, a few ranges ahead of whoever takes them.

        Raises:
            Damaged: ``bad-layer`` or ``missing-object``.
        """
        waiting: list[Future[Fetched]] = []
        for number, layer in enumerate(layers):
            for part in layer.parts:
                for frames in _ranges(part.frames):
                    waiting.append(self._pool.submit(carried(self._fetch), number, part, frames))
                    if len(waiting) > _FETCHES_AT_ONCE:
                        yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()

    def fetch_frames(self, part: OpenPart, frames: list[Frame]) -> list[tuple[Frame, bytes]]:
        """Fetch some frames of one part, with what is in them."""
        fetch = carried(functools.partial(self._fetch, 0, part))
        found = self._pool.map(fetch, _ranges(frames))
        return [each for group in found for each in group.frames]

    def _fetch(self, layer: int, part: OpenPart, frames: list[Frame]) -> Fetched:
        start, end = frames[0].offset, frames[-1].end
        body = memoryview(self._range(part.key, start, end - start))
        pieces = tuple(
            (f, read_frame(part.key, f, body[f.offset - start : f.end - start])) for f in frames
        )
        return Fetched(layer, part, pieces, end - start)

    def _range(self, key: str, start: int, length: int) -> bytes:
        try:
            body = self._store.get_range(key, start=start, length=length)
        except NotFound:
            raise Damaged(
                f"{key} is missing",
                kind="missing-object",
                hint="read another version, or bring the object back from a backup",
            ) from None
        if len(body) != length:
            raise bad_layer(key, "it is shorter than its manifest says")
        return body


def _ranges(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Group neighbouring frames into ranges worth a request."""
    group: list[Frame] = []
    content_bytes = 0
    for frame in frames:
        apart = group and frame.offset != group[-1].end
        large = group and frame.end - group[0].offset > RANGE_BYTES
        if apart or large or (group and content_bytes + frame.size_bytes > _CONTENT_BYTES):
            yield group
            group, content_bytes = [], 0
        group.append(frame)
        content_bytes += frame.size_bytes
    if group:
        yield group
