"""What a caller holds: write runs, compact them into versions, read, trace, open copies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from chromaseal import keys
from chromaseal.clock import to_iso
from chromaseal.compaction.compactor import Compaction, Compactor, Parts
from chromaseal.delta.admission import admit
from chromaseal.delta.model import Changes, Delta, DeltaHeader, same_changes, upserts_of
from chromaseal.digests import blake3_hex
from chromaseal.embedding import ModelPin
from chromaseal.errors import Conflict, NotFound, RefusedInput, UsageError
from chromaseal.pin import DEFAULT_SPACE, CollectionPin, pin_collection, read_pin
from chromaseal.reader import Reader
from chromaseal.run.model import Run, RunPart, RunState
from chromaseal.sandbox import Progress
from chromaseal.settle import put_once
from chromaseal.snapshot.checkout import refuse_occupied
from chromaseal.snapshot.history import find, head, lineage
from chromaseal.snapshot.manifest import Version
from chromaseal.trace import TraceStep

_AT_ONCE = 2
CollectionProgress = Callable[[str, str, int, int], None]
OpenReader = Callable[[Version, Path, ExitStack], Reader]


@dataclass(frozen=True, slots=True)
class Written:
    """A run that is durable.

    Attributes:
        run: as the ledger has it.
        new: False if a run of that id was there before; then nothing was changed.
    """

    run: Run
    new: bool


class Vault:
    """Collections of records in an object store. Use as a context manager.

    ``chromaseal.open`` makes one with everything that it needs.

    Args:
        parts: store, ledger and the rest.
        open_reader: makes a reader of a version and a private copy.
        close: gives back what the parts hold.
    """

    def __init__(self, parts: Parts, *, open_reader: OpenReader, close: Callable[[], None]) -> None:
        self.parts = parts
        self._open_reader = open_reader
        self._close = close

    @property
    def url(self) -> str:
        """Say where the vault is."""
        return self.parts.store.url

    def warm_up(self) -> None:
        """Begin what compacting will need, so that it need not wait for it."""
        self.parts.sandbox.start()

    def write(
        self,
        changes: Mapping[str, Changes],
        *,
        model: ModelPin | None = None,
        run_id: str = "",
        attributes: Mapping[str, str] | None = None,
        space: str = "",
        stored_wins: bool = False,
    ) -> Written:
        """Store one run: a delta per collection, then the run in the ledger.

        When this returns, the run is durable and will be in a version; repeating it with the
        same ``run_id`` changes nothing, also after a crash in the middle.

        Args:
            changes: by collection.
            model: the model that made the vectors; pinned by the first write of a
                collection, compared by every other.
            run_id: a name for the run that the caller can repeat; made up when empty.
            attributes: what is to be remembered of the run.
            space: ``l2``, ``cosine`` or ``ip``; empty for the collection's own, which is l2
                where this write begins it.
            stored_wins: what to do where an attempt that died stored another delta for the
                same run: keep that one, or refuse.

        Raises:
            RefusedInput: the changes cannot be stored; nothing was.
            Conflict: ``other-model``, ``other-dimension``, ``other-space``, or
                ``different-content``: the run id is taken by other changes.
            Unavailable: the store or the ledger did not answer; repeat with the same id.
        """
        if not changes:
            raise RefusedInput("the run names no collection", kind="empty-delta")
        run_id = keys.check_name(run_id or self.parts.ids.run_id())
        for name in changes:
            keys.check_collection(name)
        known = self.parts.ledger.get(run_id)
        if known is not None and known.parts.keys() != changes.keys():
            raise _other_changes(run_id, ", ".join(sorted(known.parts)))
        created_at = known.created_at if known else self._begun_at(run_id, changes)
        created_at = created_at or to_iso(self.parts.clock.now())
        deltas = [
            _delta(DeltaHeader(run_id, name, created_at, model, attributes or {}), change)
            for name, change in sorted(changes.items())
        ]
        for delta in deltas:
            self._pin(delta, space)
        with ThreadPoolExecutor(len(deltas)) as pool:
            stored = pool.map(functools.partial(self._store, stored_wins=stored_wins), deltas)
            parts = dict(zip(sorted(changes), stored, strict=True))
        run = Run(run_id, created_at, parts, dict(attributes or {}))
        new = self.parts.ledger.add(run)
        return Written(run if new else self.run(run_id), new=new)

    def compact(
        self, collections: Sequence[str] = (), *, progress: CollectionProgress | None = None
    ) -> list[Compaction]:
        """Fold the waiting runs of collections, of all of them by default, into versions.

        Raises:
            ChromasealError: see ``Compactor.compact``; the other collections are done
                nevertheless.
        """
        names = list(collections) or self.collections()
        compactor = Compactor(self.parts)

        def compact(name: str) -> Compaction:
            if progress is None:
                return compactor.compact(name)
            return compactor.compact(name, progress=functools.partial(progress, name))

        # Collections have nothing to do with each other, and each merge is one thread's work.
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                return list(pool.map(compact, names))
            except KeyboardInterrupt:
                # The children would work on to an end that nobody waits for.
                self.parts.sandbox.close()
                raise

    def collections(self) -> list[str]:
        """Give the names of all collections."""
        return [keys.parse_collection(o.key) for o in self.parts.store.list(keys.COLLECTIONS)]

    def pin(self, collection: str) -> CollectionPin | None:
        """Give what a collection is pinned to; None before its first write."""
        return read_pin(self.parts.store, collection)

    def version(self, collection: str, at: str = "") -> Version:
        """Give one version: a number or an id, the newest by default.

        Raises:
            NotFound: ``no-version``.
        """
        return find(self.parts.store, collection, at)

    def has_version(self, collection: str) -> bool:
        """Whether a collection has been compacted at all."""
        return head(self.parts.store, collection).version is not None

    def log(self, collection: str) -> Iterator[Version]:
        """Give a collection's versions, the newest first."""
        if self.pin(collection) is None:
            raise NotFound(
                f"there is no collection {collection} in {self.url}",
                kind="no-collection",
                hint="there are: " + (", ".join(self.collections()) or "none yet"),
            )
        return lineage(self.parts.store, collection)

    def reader(self, collection: str, *, at: str = "", progress: Progress | None = None) -> Reader:
        """Open a private, verified copy of a version; close it when done.

        Raises:
            NotFound: ``no-version``.
            Damaged: the version cannot be fetched whole.
        """
        version = self.version(collection, at)
        with ExitStack() as held:
            workspace = held.enter_context(self.parts.checkouts.workspace())
            directory = workspace / "directory"
            self.parts.checkouts.copy(version, directory, progress=progress)
            return self._open_reader(version, directory, held.pop_all())

    def open_copy(
        self, collection: str, directory: Path, *, at: str = "", progress: Progress | None = None
    ) -> Version:
        """Make a verified copy of a version that any ChromaDB client may open and change.

        Raises:
            Conflict: ``directory-not-empty``.
            NotFound: ``no-version``.
            Damaged: the version cannot be fetched whole; nothing is left behind.
        """
        refuse_occupied(directory)
        version = self.version(collection, at)
        self.parts.checkouts.copy(version, directory, durable=True, progress=progress)
        return version

    def run(self, run_id: str) -> Run:
        """Give one run, by its id or by the beginning of it.

        Raises:
            NotFound: ``no-run``.
            UsageError: ``ambiguous-run``, several runs begin like that.
        """
        found = self.parts.ledger.get(run_id)
        if found is not None:
            return found
        similar = self.parts.ledger.with_prefix(run_id) if run_id else []
        if len(similar) > 1:
            raise UsageError(
                f"several runs begin with {run_id}: {', '.join(run.run_id for run in similar)}",
                kind="ambiguous-run",
                hint="give more of the id",
            )
        if not similar:
            raise NotFound(
                f"the ledger has no run {run_id}", kind="no-run", hint="chromaseal runs list"
            )
        return similar[0]

    def retry(self, run_id: str) -> list[str]:
        """Put the failed parts of a run back; give the collections that wait again."""
        run = self.run(run_id)
        failed = [name for name, part in run.parts.items() if part.state is RunState.FAILED]
        for name in failed:
            self.parts.ledger.move(
                [run.run_id],
                name,
                states=[RunState.FAILED],
                to=RunState.PENDING,
                at=to_iso(self.parts.clock.now()),
            )
        return failed

    def trace(self, run_id: str) -> list[TraceStep]:
        """Tell every step of a run, from its deltas to the versions that contain it."""
        run = self.run(run_id)
        return [step for name, part in run.parts.items() for step in self._trace(run, name, part)]

    def close(self) -> None:
        """Give back the ledger and the child process."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begun_at(self, run_id: str, changes: Mapping[str, Changes]) -> str:
        """Give when an earlier attempt at the run began; a part of it may be stored."""
        for name in changes:
            stored = self._stored_delta(name, run_id)
            if stored is not None:
                return stored.header.created_at
        return ""

    def _stored_delta(self, collection: str, run_id: str) -> Delta | None:
        key = keys.delta(collection, run_id, self.parts.codec.suffix)
        try:
            return self.parts.codec.decode(self.parts.store.get(key).body)
        except NotFound:
            return None

    def _pin(self, delta: Delta, space: str) -> None:
        name = delta.header.collection
        if not len(delta.upserts):
            # Updates and deletes bring no vectors, so there is nothing to compare.
            if self.pin(name) is None:
                raise NotFound(
                    f"there is no collection {name} to change records of", kind="no-collection"
                )
            return
        dimension = delta.upserts.embeddings.shape[1]
        pin = self.pin(name)
        wanted_space = space or (pin.space if pin else DEFAULT_SPACE)
        pin_collection(
            self.parts.store, CollectionPin(name, dimension, wanted_space, delta.header.model)
        )

    def _store(self, delta: Delta, *, stored_wins: bool) -> RunPart:
        header, codec = delta.header, self.parts.codec
        key = keys.delta(header.collection, header.run_id, codec.suffix)
        body = codec.encode(delta)
        try:
            put_once(self.parts.store, key, body)
        except Conflict as error:
            body = self.parts.store.get(key).body
            stored = codec.decode(body)
            if stored_wins or same_changes(stored, delta):
                return RunPart(RunState.PENDING, key, len(body), len(stored))
            raise _other_changes(header.run_id, header.collection) from error
        return RunPart(RunState.PENDING, key, len(body), len(delta))

    def _trace(self, run: Run, collection: str, part: RunPart) -> Iterator[TraceStep]:
        try:
            digest = blake3_hex(self.parts.store.get(part.delta_key).body)
            stored = "stored once as"
        except NotFound:
            digest, stored = "", "no longer in the vault:"
        yield TraceStep(
            step=f"{collection}: delta",
            at=run.created_at,
            duration_s=None,
            size_bytes=part.size_bytes,
            digest=digest,
            detail=f"{part.changes} changes, {stored} {part.delta_key}",
        )
        yield TraceStep(
            step=f"{collection}: run",
            at=part.finished_at or part.started_at or run.created_at,
            duration_s=None,
            size_bytes=None,
            digest="",
            detail=f"{part.state}, {part.attempts} attempts" + (part.error and f": {part.error}"),
        )
        if part.version_id:
            yield from _trace_version(find(self.parts.store, collection, part.version_id))


def _other_changes(run_id: str, collections: str) -> Conflict:
    return Conflict(
        f"run {run_id} already has other changes, for {collections}",
        kind="different-content",
        hint="a run id stands for the same changes for ever; take another one",
    )


def _delta(header: DeltaHeader, changes: Changes) -> Delta:
    try:
        upserts = upserts_of(changes.upserts)
    except ValueError as error:
        raise RefusedInput(
            f"the vectors of one run differ in length: {error}", kind="bad-vector"
        ) from error
    return admit(header, upserts, changes.updates, changes.deletes)


def _trace_version(version: Version) -> Iterator[TraceStep]:
    manifest = version.manifest
    yield TraceStep(
        step=f"{manifest.collection}: version {manifest.number}",
        at=manifest.created_at,
        duration_s=None,
        size_bytes=manifest.size_bytes,
        digest=version.digest,
        detail=f"{version.version_id}, {manifest.records.count} records, "
        f"{len(manifest.merged_here)} runs merged",
    )
    for check in manifest.checks:
        yield TraceStep(
            step=f"{manifest.collection}: checked {check.name}",
            at=manifest.created_at,
            duration_s=check.duration_s,
            size_bytes=None,
            digest="",
            detail=check.evidence,
        )
