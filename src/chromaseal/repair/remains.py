"""What can be read of a damaged ChromaDB directory, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chromaseal.record import MetadataValue
from chromaseal.seal.anatomy import LogEntry, LogOperation


@dataclass(frozen=True, slots=True)
class Settings:
    """How a collection measures and searches.

    Attributes:
        space: ``l2``, ``cosine`` or ``ip``.
        max_neighbours: links per element.
    """

    space: str = "l2"
    max_neighbours: int = 16


@dataclass(frozen=True, slots=True)
class CollectionRemains:
    """One row of ``collections``.

    Attributes:
        collection_id: of the collection.
        name: of the collection; empty where the row is lost.
        database_id: whose it is.
        dimension: numbers per vector, as the row has it.
        settings: None where they cannot be read.
        cells: every column as it is.
    """

    collection_id: str
    name: str
    database_id: str
    dimension: int | None
    settings: Settings | None
    cells: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SegmentRemains:
    """One row of ``segments``; ``scope`` is ``VECTOR`` or ``METADATA``, by its type if need be."""

    segment_id: str
    scope: str
    collection_id: str


@dataclass(slots=True)
class RowRemains:
    """One record as the tables have it.

    Attributes:
        row_id: in ``embeddings``.
        segment_id: whose.
        record_id: of the record.
        seq_id: of its last change; None where that cannot be read.
        document: the text.
        metadata: the values.
        lost: parts that cannot be read or believed, with the reason.
    """

    row_id: int
    segment_id: str
    record_id: str
    seq_id: int | None
    document: str | None = None
    metadata: dict[str, MetadataValue] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EntryRemains:
    """One entry of the log.

    Attributes:
        seq_id: its place.
        operation: 0 to 3; 3 deletes.
        topic: ends in the collection's id.
        record_id: whose.
        vector: None if it has none.
        is_sound: whether every part of it can be believed.
        values: metadata and document that it gives.
    """

    seq_id: int
    operation: int
    topic: str
    record_id: str
    vector: NDArray[np.float32] | None
    is_sound: bool
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> LogEntry:
        """Give it as the log's rules take it."""
        operation = LogOperation(self.operation) if self.is_sound else LogOperation.UPDATE
        return LogEntry(
            self.seq_id, operation, self.record_id, self.vector, self.is_sound, self.values
        )


class IndexRemains(Protocol):
    """What is left of a vector segment."""

    @property
    def folder(self) -> str:
        """Give its name, which is the segment's id."""

    @property
    def dimension(self) -> int:
        """Give numbers per vector; 0 if unknown."""

    @property
    def names(self) -> Mapping[str, int]:
        """Give the labels of records."""

    @property
    def contradicted(self) -> frozenset[str]:
        """Give the records whose labels are in doubt."""

    @property
    def strangers(self) -> int:
        """Count the elements that have a label and that nobody names."""

    @property
    def has_bad_pages(self) -> bool:
        """Say whether some pages are not what was written there."""

    @property
    def is_cut(self) -> bool:
        """Say whether the vectors end in the middle of one."""

    @property
    def problem(self) -> str:
        """Say why there are no names; empty if there are."""

    def vector(self, record_id: str) -> NDArray[np.float32] | None:
        """Give a record's vector, if it is there and can be believed."""


@dataclass(slots=True)
class Remains:
    """All that can be read of a directory.

    Attributes:
        problem: why nothing can be read of ``chroma.sqlite3``; empty if something can.
        tables_whole: whether every row of every table was read.
        is_torn: whether the database has more pages than its first one knows of, as a copy has
            that was taken while it grew: its pages are of several moments.
        values_confirmed: whether an index, or the soundness of the tables, says which values every
            record should have.
        collections: rows of ``collections``.
        segments: rows of ``segments``.
        rows: records as the tables have them.
        unnamed: ids, by segment, of records whose rows cannot be read.
        orphans: values of no record.
        disputed: what tables and their own indexes say differently, of what is no record.
        log: the pending log, oldest first.
        log_whole: whether every entry of it was read.
        places: up to where a segment has applied the log, where that is a number.
        indexes: vector segments on disk, by folder.
        cells: rows of other tables to be taken along: table -> columns and rows.
    """

    problem: str = ""
    tables_whole: bool = True
    is_torn: bool = False
    values_confirmed: bool = True
    collections: list[CollectionRemains] = field(default_factory=list)
    segments: list[SegmentRemains] = field(default_factory=list)
    rows: list[RowRemains] = field(default_factory=list)
    unnamed: dict[str, set[str]] = field(default_factory=dict)
    orphans: list[Mapping[str, Any]] = field(default_factory=list)
    disputed: list[str] = field(default_factory=list)
    log: list[EntryRemains] = field(default_factory=list)
    log_whole: bool = True
    places: dict[str, int] = field(default_factory=dict)
    indexes: dict[str, IndexRemains] = field(default_factory=dict)
    cells: dict[str, tuple[Sequence[str], list[tuple[Any, ...]]]] = field(default_factory=dict)
