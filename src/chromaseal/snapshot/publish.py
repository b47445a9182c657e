"""VerifiedSnapshot -> the next version: layers, manifest, pointer, in this order.

Every step stores whole, checked objects under names never used before; until the pointer moves
nothing refers to them, so a process that dies on any line leaves the collection as it was. So
layers may be stored while the directory is still being verified; what refers to them may not.
"""

from __future__ import annotations

from dataclasses import dataclass

from chromaseal import keys
from chromaseal.clock import Clock, to_iso
from chromaseal.digests import PAGE_SIZE_BYTES
from chromaseal.embedding import ModelPin
from chromaseal.errors import Conflict
from chromaseal.object_store import ObjectStore
from chromaseal.sandbox import Progress, no_progress
from chromaseal.seal.page_table import Tables
from chromaseal.seal.sealed import Sealed
from chromaseal.seal.verify import VerifiedSnapshot
from chromaseal.settle import put_once, swap
from chromaseal.snapshot.chain import fold_from, outweighs
from chromaseal.snapshot.fold import fold
from chromaseal.snapshot.history import Head, extend, head, line
from chromaseal.snapshot.kept import Kept
from chromaseal.snapshot.layer_objects import LayerReader, store_parts
from chromaseal.snapshot.manifest import (
    BASE,
    DIFF,
    LayerEntry,
    Manifest,
    MergedRun,
    Version,
    encode,
)
from chromaseal.snapshot.pack import changed_pages, estimate_packed_bytes, pack_base, pack_diff
from chromaseal.snapshot.version_id import stamp_after
from chromaseal.telemetry.emit import event


@dataclass(frozen=True, slots=True)
class Draft:
    """What a version is to say beside its content.

    Attributes:
        collection: whose version it is.
        head: the pointer as it was when the work began; it must not have moved.
        model: the model of the vectors, if it is known.
        runs: the runs that the version merges.
        writer: name, release and host of who makes it.
        restores: the number of the version whose content it brings back; None but for
            rollbacks.
        fresh_base: whether it begins with a base of its own, whatever its parent has; then
            nothing has to be known of the parent's files.
    """

    collection: str
    head: Head
    model: ModelPin | None
    runs: tuple[MergedRun, ...]
    writer: dict[str, str]
    restores: int | None = None
    fresh_base: bool = False

    @property
    def number(self) -> int:
        """Give the new version's number."""
        return 1 if self.head.version is None else self.head.version.manifest.number + 1


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """What was stored for a version: see ``Manifest``.

    Attributes:
        sealed: the directory whose pages they are.
        attempt: who stored them.
        chain: the version's layers.
        step: the one from the version before; None for a base.
        packed_bytes: of the chain's base.
    """

    sealed: Sealed
    attempt: str
    chain: tuple[LayerEntry, ...]
    step: LayerEntry | None
    packed_bytes: int


def publish(
    store: ObjectStore,
    snapshot: VerifiedSnapshot,
    draft: Draft,
    *,
    kept: Kept | None,
    attempt: str,
    clock: Clock,
    progress: Progress | None = None,
) -> Version:
    """Store a verified directory as the next version of its collection.

    Args:
        store: the vault's objects.
        snapshot: the directory.
        draft: what else the version says.
        kept: the head's files; None only where there is no head, or with a fresh base.
        attempt: 32 hexadecimal digits that no other attempt has.
        clock: for the version's time.
        progress: called with packed and all bytes.

    Raises:
        Conflict: ``lost-race``, another version was published first; apply the runs to it.
        Conflict: ``changed-while-reading``, the directory is not what was sealed.
        Unavailable: the store did not answer; nothing refers to what was stored.
    """
    layers = store_layers(
        store, snapshot.sealed, draft, kept=kept, attempt=attempt, progress=progress
    )
    return commit(store, snapshot, draft, layers, clock=clock)


def store_layers(
    store: ObjectStore,
    sealed: Sealed,
    draft: Draft,
    *,
    kept: Kept | None,
    attempt: str,
    progress: Progress | None = None,
) -> Layers:
    """Store what a version is made of; nothing refers to it.

    Args:
        store: the vault's objects.
        sealed: the directory.
        draft: what else the version will say.
        kept: the head's files; None only where there is no head, or with a fresh base.
        attempt: 32 hexadecimal digits that no other attempt has.
        progress: called with packed and all bytes.

    Raises:
        Conflict: ``lost-race``, the kept files are another version's.
        Conflict: ``changed-while-reading``, the directory is not what was sealed.
        Unavailable: the store did not answer.
    """
    return _Attempt(store, sealed, draft, attempt, progress or no_progress).store(kept)


def commit(
    store: ObjectStore, snapshot: VerifiedSnapshot, draft: Draft, layers: Layers, *, clock: Clock
) -> Version:
    """Make a version of layers that are stored.

    Args:
        store: the vault's objects.
        snapshot: the directory of which they are.
        draft: what else the version says.
        layers: what ``store_layers`` gave for it.
        clock: for the version's time.

    Raises:
        Conflict: ``lost-race``, another version was published first; apply the runs to it.
        Unavailable: the store did not answer; nothing refers to what was stored.
    """
    if layers.sealed is not snapshot.sealed:
        raise TypeError("these layers are not those of the directory that was verified")
    extension = extend(store, draft.head.version, f"{draft.number:06d}-{layers.attempt}")
    parent = draft.head.version
    created_at = stamp_after(clock.now(), parent.version_id if parent else None)
    manifest = Manifest(
        collection=draft.collection,
        number=draft.number,
        created_at=to_iso(created_at),
        attempt=layers.attempt,
        parent=parent.as_parent if parent else None,
        writer=draft.writer,
        model=draft.model,
        records=snapshot.records,
        collections=snapshot.collections,
        runs=tuple(sorted(draft.runs, key=lambda run: run.order)),
        restores=draft.restores,
        pages=extension.pages,
        past=extension.past,
        files=tuple(file.table.entry(file.path) for file in snapshot.sealed.files),
        layers=layers.chain,
        step=layers.step,
        packed_bytes=layers.packed_bytes,
        checks=snapshot.checks,
    )
    version, body = encode(manifest)
    put_once(store, keys.manifest(draft.collection, version.version_id), body)
    _move_pointer(store, draft, version)
    _tell_published(version)
    return version


def _move_pointer(store: ObjectStore, draft: Draft, version: Version) -> None:
    key = keys.pointer(draft.collection)
    try:
        swap(store, key, version.version_id.encode(), etag=draft.head.etag)
    except Conflict:
        # The pointer may have moved here, without an answer, and then on to somebody else's.
        if not _became(store, version):
            _tell_attempt(draft, version, "lost")
            raise
    _tell_attempt(draft, version, "won")


def _tell_published(version: Version) -> None:
    event(
        "version published",
        collection=version.manifest.collection,
        number=version.manifest.number,
        version_id=version.version_id,
        records=version.manifest.records.count,
        stored_bytes=version.as_past.stored_bytes,
    )


def _tell_attempt(draft: Draft, version: Version, outcome: str) -> None:
    event(
        "commit attempt",
        collection=draft.collection,
        number=draft.number,
        version_id=version.version_id,
        outcome=outcome,
    )


def _became(store: ObjectStore, version: Version) -> bool:
    """Whether a version is on the line that leads to the newest one."""
    newest = head(store, version.manifest.collection).version
    if newest is None:
        return False
    recent = {past.version_id for past in (*newest.manifest.past, newest.as_past)}
    if version.version_id in recent:
        return True
    first = newest.manifest.pages[-1].last if newest.manifest.pages else 0
    if version.manifest.number > first:
        return False
    return version.version_id in {past.version_id for past in line(store, newest)}


class _Attempt:
    """Stores the layers of one attempt at a version."""

    def __init__(
        self, store: ObjectStore, sealed: Sealed, draft: Draft, attempt: str, progress: Progress
    ) -> None:
        self._store = store
        self._sealed = sealed
        self._draft = draft
        self._attempt = attempt
        self._prefix = f"{draft.number:06d}-{attempt}"
        self._progress = progress

    def store(self, kept: Kept | None) -> Layers:
        """Store the step from the head, and what the chain needs beside it."""
        parent = self._draft.head.version
        if parent is None or self._draft.fresh_base:
            base = self._store_base()
            return self._layers((base,), None, base.size_bytes)
        if kept is None or kept.version.version_id != parent.version_id:
            raise Conflict(
                f"{self._sealed.directory} was not compared with {parent.version_id}",
                kind="lost-race",
            )
        step = self._store_step(kept.tables, kept)
        layers, packed_bytes = parent.manifest.layers, parent.manifest.packed_bytes
        if outweighs(parent.manifest.chain_bytes + step.size_bytes, packed_bytes):
            packed_bytes = estimate_packed_bytes(self._sealed)
            if outweighs(parent.manifest.chain_bytes + step.size_bytes, packed_bytes):
                base = self._store_base()
                return self._layers((base,), step, base.size_bytes)
        start = fold_from(layers)
        if start is not None:
            sizes = {file.path: file.size_bytes for file in parent.manifest.files}
            layers = (*layers[:start], self._store_fold(layers[start:], sizes))
        return self._layers((*layers, step), step, packed_bytes)

    def _layers(
        self, chain: tuple[LayerEntry, ...], step: LayerEntry | None, packed_bytes: int
    ) -> Layers:
        return Layers(self._sealed, self._attempt, chain, step, packed_bytes)

    def _store_base(self) -> LayerEntry:
        parts = store_parts(
            self._store,
            self._draft.collection,
            f"{self._prefix}-base",
            pack_base(self._sealed),
            total_bytes=self._sealed.size_bytes,
            progress=self._progress,
        )
        number = self._draft.number
        return LayerEntry(f"{self._prefix}-base", BASE, number, number, 0, parts)

    def _store_step(self, before: Tables, kept: Kept) -> LayerEntry:
        parts = store_parts(
            self._store,
            self._draft.collection,
            f"{self._prefix}-step",
            pack_diff(self._sealed, before, kept),
            total_bytes=changed_pages(self._sealed, before) * PAGE_SIZE_BYTES,
            progress=self._progress,
        )
        number = self._draft.number
        return LayerEntry(f"{self._prefix}-step", DIFF, number, number, 0, parts)

    def _store_fold(self, layers: tuple[LayerEntry, ...], sizes: dict[str, int]) -> LayerEntry:
        with LayerReader(self._store, self._draft.collection) as reader:
            parts = store_parts(
                self._store,
                self._draft.collection,
                f"{self._prefix}-fold",
                fold(reader, reader.open(layers), sizes),
            )
        depth = 1 + max(layer.depth for layer in layers)
        return LayerEntry(
            f"{self._prefix}-fold", DIFF, layers[0].first, layers[-1].last, depth, parts
        )
