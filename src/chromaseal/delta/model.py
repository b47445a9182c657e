"""A delta as plain data: upserts, metadata updates and deletes of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from chromaseal.embedding import ModelPin
from chromaseal.record import Metadata, MetadataPatch, Record


@dataclass(frozen=True, slots=True)
class DeltaHeader:
    """What a delta says of itself.

    Attributes:
        run_id: the run that it belongs to.
        collection: the collection that it changes.
        created_at: UTC, ISO 8601 with microseconds; with ``run_id`` it decides which of two
            runs is the later one.
        model: the model of its vectors; None where it brings none.
        attributes: what its writer wants remembered, for example the image's id.
        collections: for which the run has a delta, sorted; empty where its writer did not say.
    """

    run_id: str
    collection: str
    created_at: str
    model: ModelPin | None
    attributes: Mapping[str, str] = field(default_factory=dict)
    collections: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[str, str]:
        """Where the run stands among all runs: the greater one is the later one."""
        return (self.created_at, self.run_id)


@dataclass(frozen=True, slots=True, eq=False)
class Upserts:
    """Whole records in columns: an upsert replaces all that a record had.

    Attributes:
        ids: n ids.
        embeddings: float32, shape (n, dimension).
        documents: n texts or None.
        metadatas: n mappings without None values.
    """

    ids: tuple[str, ...]
    embeddings: NDArray[np.float32]
    documents: tuple[str | None, ...]
    metadatas: tuple[Metadata, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def record(self, index: int) -> Record:
        """Give one of the records."""
        return Record(
            self.ids[index], self.embeddings[index], self.documents[index], self.metadatas[index]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """An immutable bundle of changes; every id occurs in at most one of the three.

    Attributes:
        header: what it says of itself.
        upserts: whole records.
        updates: metadata patches by id; a None value clears its key, a missing key stays;
            an id that does not exist is left alone.
        deletes: ids to remove; an id that does not exist is left alone.
    """

    header: DeltaHeader
    upserts: Upserts
    updates: Mapping[str, MetadataPatch]
    deletes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.upserts) + len(self.updates) + len(self.deletes)


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What a writer wants of one collection; becomes a delta.

    Attributes:
        upserts: records that become exactly these.
        updates: metadata patches by id; None clears a key.
        deletes: ids to remove.
    """

    upserts: Sequence[Record] = ()
    updates: Mapping[str, MetadataPatch] = field(default_factory=dict)
    deletes: Sequence[str] = ()


def same_changes(one: Delta, other: Delta) -> bool:
    """Whether two deltas of a run change the same, whenever each was made, and beside which."""
    first, second = (replace(each.header, created_at="", collections=()) for each in (one, other))
    return (
        first == second
        and one.upserts.ids == other.upserts.ids
        and one.upserts.documents == other.upserts.documents
        and one.upserts.metadatas == other.upserts.metadatas
        and np.array_equal(one.upserts.embeddings, other.upserts.embeddings)
        and one.updates == other.updates
        and one.deletes == other.deletes
    )


def no_upserts() -> Upserts:
    """Give the upserts of a delta that has none."""
    return Upserts((), np.zeros((0, 0), dtype=np.float32), (), ())


def upserts_of(records: Sequence[Record]) -> Upserts:
    """Put records into columns.

    Raises:
        ValueError: their vectors differ in length.
    """
    if not records:
        return no_upserts()
    return Upserts(
        ids=tuple(r.id for r in records),
        embeddings=np.stack([np.asarray(r.embedding, dtype=np.float32) for r in records]),
        documents=tuple(r.document for r in records),
        metadatas=tuple(r.metadata for r in records),
    )
