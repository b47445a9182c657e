"""The job "merge": deltas into a private ChromaDB directory, in a child that then exits."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from chromadb.api import ClientAPI
from chromadb.api.models.Collection import Collection
from numpy.typing import NDArray

from chromaseal import multiset
from chromaseal.adapters.chroma.client import opened
from chromaseal.adapters.chroma.collection import (
    batches,
    create_collection,
    delete_records,
    find_collection,
    read_records,
    space_of,
    update_metadata,
    upsert_records,
)
from chromaseal.adapters.chroma.lost_vectors import COSINE, refuse_lost, waiting_vectors
from chromaseal.adapters.parquet.codec import ParquetDeltaCodec
from chromaseal.compaction.fold import Outcome, Patch, fold, outcome_on
from chromaseal.multiset import EMPTY, MultisetHash
from chromaseal.record import Record, canonical_metadata, record_digest
from chromaseal.sandbox import Plain, Progress
from chromaseal.telemetry.emit import step


def run(request: Plain, progress: Progress) -> Plain:
    """Merge deltas into a directory that is nobody else's.

    Args:
        request: ``directory``; ``collection``; ``space`` and ``default_model`` for a
            collection that does not exist yet; ``deltas``, paths of Parquet files.
        progress: called with merged and all records.

    Returns:
        ``removed`` and ``added``: the multiset hashes of the touched records as they were and
        as they are; ``difference``: how many records more there are; ``changed``: how many
        were written; ``duration_s``.
    """
    directory = Path(request["directory"])
    directory.mkdir(exist_ok=True)
    waiting = waiting_vectors(directory, request["collection"])
    with opened(directory) as client:
        return merge_into(client, request, progress, waiting)


def merge_into(
    client: ClientAPI,
    request: Plain,
    progress: Progress,
    waiting: Mapping[str, NDArray[np.float32]],
) -> Plain:
    """Merge deltas into a directory that is open; see ``run``.

    Args:
        client: of the directory.
        request: as that of ``run``.
        progress: as that of ``run``.
        waiting: vectors that a cosine collection's log had as it was opened.

    Raises:
        Damaged: ``lost-vectors``.
    """
    start = time.perf_counter()
    codec = ParquetDeltaCodec()
    outcomes = fold(codec.decode(Path(path).read_bytes()) for path in request["deltas"])
    facts = {"collection": request["collection"], "deltas": len(request["deltas"])}
    with step("merge deltas", **facts) as told:
        merge = _Merge(_collection(client, request), waiting)
        done = 0
        for batch in batches(list(outcomes)):
            merge.apply({record_id: outcomes[record_id] for record_id in batch})
            done += len(batch)
            progress(done, len(outcomes))
        refuse_lost(merge.collection, merge.given)
        told.note(records=len(outcomes), changed=merge.changed)
    return {
        "removed": merge.removed.to_text(),
        "added": merge.added.to_text(),
        "difference": merge.difference,
        "changed": merge.changed,
        "duration_s": round(time.perf_counter() - start, 6),
    }


def _collection(client: ClientAPI, request: Plain) -> Collection:
    found = find_collection(client, request["collection"])
    if found is not None:
        return found
    return create_collection(
        client,
        request["collection"],
        space=request["space"],
        with_default_model=request["default_model"],
    )


class _Merge:
    """Applies outcomes and keeps the balance of what went and what came.

    Attributes:
        collection: what they are applied to.
        given: by id, vectors that it was given and that are outside the balance.
    """

    def __init__(self, collection: Collection, waiting: Mapping[str, NDArray[np.float32]]) -> None:
        self.collection = collection
        # ChromaDB normalises the vectors of a cosine collection.
        self._with_embedding = space_of(collection) != COSINE
        self.given = {} if self._with_embedding else dict(waiting)
        self.removed: MultisetHash = EMPTY
        self.added: MultisetHash = EMPTY
        self.difference = 0
        self.changed = 0

    def apply(self, outcomes: Mapping[str, Outcome]) -> None:
        """Apply what becomes of some records, and add it to the balance.

        Whether ChromaDB kept them as given is told by ``verify``, which compares the balance
        with what is in the files.
        """
        ids = list(outcomes)
        old = read_records(self.collection, ids)
        wanted = {i: outcome_on(old.get(i), outcome) for i, outcome in outcomes.items()}
        changed = [i for i in ids if not _same(old.get(i), wanted[i])]
        self._write(outcomes, changed, old, wanted)
        if not self._with_embedding:
            self._note_given(wanted)
        self.removed += self._hash(old.get(i) for i in changed)
        self.added += self._hash(wanted[i] for i in changed)
        self.difference += sum(wanted[i] is not None for i in changed)
        self.difference -= sum(i in old for i in changed)
        self.changed += len(changed)

    def _note_given(self, wanted: Mapping[str, Record | None]) -> None:
        for record_id, record in wanted.items():
            if record is None:
                self.given.pop(record_id, None)
            else:
                self.given[record_id] = record.embedding

    def _write(
        self,
        outcomes: Mapping[str, Outcome],
        changed: Sequence[str],
        old: Mapping[str, Record],
        wanted: Mapping[str, Record | None],
    ) -> None:
        gone = [i for i in changed if wanted[i] is None or _loses_document(old.get(i), wanted[i])]
        delete_records(self.collection, gone)
        records, stale = [], {}
        patches = {}
        for record_id in changed:
            record, outcome = wanted[record_id], outcomes[record_id]
            if record is None:
                continue
            if isinstance(outcome, Patch):
                patches[record_id] = outcome.patch
                continue
            records.append(record)
            before = old.get(record_id)
            if before is not None and record_id not in gone:
                stale[record_id] = sorted(before.metadata.keys() - record.metadata.keys())
        upsert_records(self.collection, records, stale)
        update_metadata(self.collection, patches)

    def _hash(self, records: Iterable[Record | None]) -> MultisetHash:
        return multiset.of_digests(
            record_digest(record, with_embedding=self._with_embedding)
            for record in records
            if record is not None
        )


def _same(before: Record | None, after: Record | None) -> bool:
    # Not by digest: that leaves out the last digits of floats and the vectors of cosine.
    if before is None or after is None:
        return before is after
    return (
        before.document == after.document
        and canonical_metadata(before.metadata) == canonical_metadata(after.metadata)
        and np.array_equal(before.embedding, after.embedding)
    )


def _loses_document(before: Record | None, after: Record | None) -> bool:
    # ChromaDB has no way to clear a document but to write the record anew.
    if before is None or after is None:
        return False
    return before.document is not None and after.document is None
