"""What a ChromaDB directory consists of, as plain data; the checks decide over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chromaseal.record import Metadata


class LogOperation(IntEnum):
    """What an entry of the pending log does, as ChromaDB numbers it."""

    ADD = 0
    UPDATE = 1
    UPSERT = 2
    DELETE = 3


@dataclass(frozen=True, slots=True, eq=False)
class LogEntry:
    """One entry of the pending log.

    Attributes:
        seq_id: its place.
        operation: what it does.
        record_id: whose.
        vector: float32 of shape (dimension,), or None.
        is_sound: whether every part of it can be believed.
        values: what it gives metadata and document, None where it takes a value away; None where
            nobody looked.
    """

    seq_id: int
    operation: LogOperation
    record_id: str
    vector: NDArray[np.float32] | None
    is_sound: bool = True
    values: Mapping[str, Any] | None = None

    @property
    def is_delete(self) -> bool:
        """Whether it takes its record away."""
        return self.operation is LogOperation.DELETE


@dataclass(frozen=True, slots=True, eq=False)
class HnswIndex:
    """The five files of a vector segment.

    Attributes:
        version: of the file format; 1 is known.
        max_elements: capacity.
        count: elements, deleted ones included.
        entry_point: element where a search starts.
        max_level: the highest level; -1 when empty.
        file_sizes_bytes: by file name; a missing file is missing here.
        links_end: where the chain in ``link_lists.bin`` ends; -1 if it breaks.
        labels: uint64, shape (count,).
        deleted: bool, shape (count,).
        neighbours_ok: whether every level-0 neighbour is another element, no list is too long, and
            none names an element more often than hnswlib itself does.
        vectors: float32, shape (count, dimension).
        levels_ok: whether every list above level 0 leads to elements of its level, and the
            entry point stands on the highest.
        id_to_label: from ``index_metadata.pickle``; None where that is missing.
        names_ok: whether the pickle's other parts fit ``id_to_label``.
        doubled: neighbours that stand in their list a second time.
        unreached: living elements that no chain of level-0 links leads to from the entry point;
            None where nobody looked.
        emptied: elements without a level-0 link though others lead to them, or nothing has any.
        alone: elements without a level-0 link to which none leads, though there are others.
        problem: why the files could not be read any further; empty if they could.
    """

    version: int
    max_elements: int
    count: int
    entry_point: int
    max_level: int
    file_sizes_bytes: Mapping[str, int]
    links_end: int
    labels: NDArray[np.uint64]
    deleted: NDArray[np.bool_]
    neighbours_ok: bool
    vectors: NDArray[np.float32]
    levels_ok: bool
    id_to_label: Mapping[str, int] | None
    names_ok: bool
    doubled: int = 0
    unreached: int | None = None
    emptied: int = 0
    alone: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A record as SQLite has it."""

    record_id: str
    document: str | None
    metadata: Metadata


@dataclass(frozen=True, slots=True, eq=False)
class CollectionAnatomy:
    """One collection's parts.

    Attributes:
        name: of the collection.
        dimension: numbers per vector; None before the first record.
        space: ``l2``, ``cosine`` or ``ip``.
        scopes: of its segments; ``METADATA`` and ``VECTOR`` where nothing is missing.
        vector_segment: its directory's name; empty where there is no vector segment.
        flushed_seq_id: log entries up to here are in the index; 0 before the first flush.
        applied_seq_id: log entries up to here are in the rows.
        row_ids: the ids of the records that SQLite has.
        fresh_rows: the log entry that last changed a record, by the record's id, for those that
            were changed after the last flush.
        log: the entries of the pending log, oldest first.
        collection_id: of the collection.
        database: tenant and name of the database that it is in.
        logged_rows: the log entry that last changed a record, by the record's id, for those that
            the log names.
        index: the HNSW files; None where there are none.
        rows: the records as SQLite has them; empty where nobody looked.
    """

    name: str
    dimension: int | None
    space: str
    scopes: tuple[str, ...]
    vector_segment: str
    flushed_seq_id: int
    applied_seq_id: int
    row_ids: tuple[str, ...]
    fresh_rows: Mapping[str, int]
    log: tuple[LogEntry, ...]
    index: HnswIndex | None
    rows: tuple[Row, ...] = ()
    collection_id: str = ""
    database: tuple[str, str] = ("default_tenant", "default_database")
    logged_rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class DeepLook:
    """What takes long to find out about a database.

    Attributes:
        integrity_check: what SQLite's own check answered; ``("ok",)`` when it is content.
        full_text_check: what is wrong with the full-text index; empty if nothing is.
        odd_values: metadata that is not exactly one value of its column's type.
        lost_rows: how many rows refer to one that is not there, by what they are.
    """

    integrity_check: tuple[str, ...]
    full_text_check: str
    odd_values: int
    lost_rows: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class DirectoryAnatomy:
    """A directory's parts.

    Attributes:
        size_bytes: of ``chroma.sqlite3``.
        page_size_bytes: as its header says.
        page_count: as its header says.
        quick_check: what SQLite's own quick check answered; ``("ok",)`` when it is content, and
            empty where the thorough one was asked.
        migrations: newest migration by part of the schema.
        odd_types: how many rows have a value of a type that ChromaDB never writes, by table.
        collections: every collection.
        journals: names of journal and write-ahead files that are there.
        write_ahead: whether the database is in WAL mode.
    """

    size_bytes: int
    page_size_bytes: int
    page_count: int
    quick_check: tuple[str, ...]
    migrations: Mapping[str, int]
    odd_types: Mapping[str, int]
    collections: tuple[CollectionAnatomy, ...]
    journals: tuple[str, ...]
    write_ahead: bool = False
