"""The rows in which two states of a database differ -> records as they were and as they are.

The index files are the same in both states; ``verification_of_changes`` sees to that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chromaseal.adapters.chroma.btree import Value
from chromaseal.adapters.chroma.database import (
    CollectionRow,
    Database,
    metadata_by_row,
    seq_id_of,
)
from chromaseal.adapters.chroma.hnsw import stored_vectors
from chromaseal.adapters.chroma.row_changes import CannotTellError, RowChanges
from chromaseal.record import Record
from chromaseal.seal.anatomy import CollectionAnatomy, LogEntry, LogOperation
from chromaseal.seal.log import DOCUMENT_KEY, apply_log, split_log

_VALUE_TABLES: Final = ("embedding_metadata", "embedding_metadata_array")
_TEXTS: Final = "embedding_fulltext_search_content"
_VALUES: Final = """
    SELECT rowid, id, key, coalesce(string_value, int_value, float_value), bool_value
    FROM TABLE WHERE id IN ({}) ORDER BY rowid
"""
Vector: TypeAlias = NDArray[np.float32]
ValuesByRow: TypeAlias = Mapping[int, Mapping[str, Any]]
_NOTHING: Final = RowChanges()


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A row of the table of records."""

    segment_id: str
    record_id: str


@dataclass(frozen=True)
class ChangedRecords:
    """The records of a directory that may differ from those that it had.

    Attributes:
        directory: as it is.
        database: of it.
        changes: the rows in which its database differs, by table.
    """

    directory: Path
    database: Database
    changes: Mapping[str, RowChanges]

    @cached_property
    def rows(self) -> frozenset[int]:
        """Give the rows of all records that may differ, those that are gone included."""
        of_records, of_texts = self._of("embeddings"), self._of(_TEXTS)
        found = {*of_records.removed, *of_records.added, *of_texts.removed, *of_texts.added}
        for table in _VALUE_TABLES:
            changes = self._of(table)
            found.update(int(row[0]) for row in _both(changes) if isinstance(row[0], int))
        # A vector may be nowhere but in the log.
        named = sorted({str(row[4]) for row in _both(self._of("embeddings_queue"))})
        query = "SELECT id FROM embeddings WHERE embedding_id IN (SELECT value FROM json_each(?))"
        there = self.database.connection.execute(query, (json.dumps(named),))
        return frozenset(found | {row_id for (row_id,) in there})

    @cached_property
    def after(self) -> dict[int, RecordRow]:
        """Give the rows as they are."""
        query = "SELECT id, segment_id, embedding_id FROM embeddings WHERE id IN ({})"
        return {row_id: RecordRow(*rest) for row_id, *rest in self._asked(query)}

    @cached_property
    def before(self) -> dict[int, RecordRow]:
        """Give the rows as they were."""
        changes = self._of("embeddings")
        kept = {i: row for i, row in self.after.items() if i not in changes.added}
        gone = {i: RecordRow(str(r[1]), str(r[2])) for i, r in changes.removed.items()}
        return kept | gone

    @cached_property
    def entries(self) -> frozenset[int]:
        """Give the entries of the log that are new."""
        return frozenset(self._of("embeddings_queue").added)

    def of_collection(self, row: CollectionRow) -> CollectionChange:
        """Give what is one collection's."""
        segments = dict(self.database.segments(row.collection_id))
        vector, metadata = segments["VECTOR"], segments["METADATA"]
        flushed = self.database.max_seq_id(vector)
        anatomy = CollectionAnatomy(
            name=row.name,
            dimension=row.dimension,
            space=row.space,
            scopes=tuple(sorted(segments)),
            vector_segment=vector,
            flushed_seq_id=flushed,
            applied_seq_id=self.database.max_seq_id(metadata),
            row_ids=(),
            fresh_rows=self.database.fresh_rows(metadata, flushed),
            log=tuple(self.database.log(row.collection_id)),
            index=None,
        )
        changes = self._of("embeddings_queue")
        gone = (_entry(seq, r) for seq, r in changes.removed.items() if _topic(r, row))
        kept = [entry for entry in anatomy.log if entry.seq_id not in changes.added]
        earlier = tuple(sorted([*gone, *kept], key=lambda entry: entry.seq_id))
        return CollectionChange(self, metadata, anatomy, earlier)

    def values_after(self) -> ValuesByRow:
        """Give the metadata of the records as it is, by row, documents included."""
        return metadata_by_row(*(self._values(table, lambda rows: rows) for table in _VALUE_TABLES))

    def values_before(self) -> ValuesByRow:
        """Give the metadata of the records as it was, by row, documents included."""

        def earlier(table: str) -> Iterable[tuple[Any, ...]]:
            changes = self._of(table)
            gone = {row_id: _value(row) for row_id, row in changes.removed.items()}

            def undone(rows: dict[int, tuple[Any, ...]]) -> dict[int, tuple[Any, ...]]:
                kept = {i: row for i, row in rows.items() if i not in changes.added}
                return dict(sorted((kept | gone).items()))

            return self._values(table, undone)

        return metadata_by_row(*map(earlier, _VALUE_TABLES))

    def _values(
        self,
        table: str,
        undo: Callable[[dict[int, tuple[Any, ...]]], dict[int, tuple[Any, ...]]],
    ) -> Iterable[tuple[Any, ...]]:
        if table == _VALUE_TABLES[1] and not self.database.has_arrays():
            return ()
        found = self._asked(_VALUES.replace("TABLE", table))
        return undo({row_id: tuple(rest) for row_id, *rest in found}).values()

    def _asked(self, query: str) -> Iterable[Any]:
        listed = "SELECT value FROM json_each(?)"
        asked = json.dumps(sorted(self.rows))
        return self.database.connection.execute(query.format(listed), (asked,))

    def _of(self, table: str) -> RowChanges:
        return self.changes.get(table, _NOTHING)


@dataclass(frozen=True)
class CollectionChange:
    """What may have changed in one collection.

    Attributes:
        records: of the whole directory.
        metadata_segment: which rows are this collection's.
        anatomy: of the collection as it is, without the index and without all rows.
        earlier_log: the log as it was, oldest first.
    """

    records: ChangedRecords
    metadata_segment: str
    anatomy: CollectionAnatomy
    earlier_log: tuple[LogEntry, ...]

    @cached_property
    def rows_before(self) -> dict[int, str]:
        """Give ids as they were, by row."""
        return self._own(self.records.before)

    @cached_property
    def rows_after(self) -> dict[int, str]:
        """Give ids as they are, by row."""
        return self._own(self.records.after)

    @property
    def new_entries(self) -> list[LogEntry]:
        """Give the entries of the log that are new, oldest first."""
        return [each for each in self.anatomy.log if each.seq_id in self.records.entries]

    def ids_of_rows(self) -> tuple[set[str], set[str]]:
        """Give which of the ids concerned have a row: as it was, and as it is."""
        concerned = {*self.rows_before.values(), *self.rows_after.values()}
        others = {entry.record_id for entry in self.new_entries} - concerned
        query = (
            "SELECT embedding_id FROM embeddings WHERE segment_id = ? "
            "AND embedding_id IN (SELECT value FROM json_each(?))"
        )
        asked = (self.metadata_segment, json.dumps(sorted(others)))
        there = {row[0] for row in self.records.database.connection.execute(query, asked)}
        return {*self.rows_before.values(), *there}, {*self.rows_after.values(), *there}

    def ids_of_vectors(self, before: Collection[str]) -> set[str]:
        """Give which of the ids concerned have a vector, from those that had one.

        Args:
            before: what ``ids_of_rows`` says of the state before, in which both were the same.
        """
        return apply_log(self.new_entries, before).ids

    def records_before(self, values: ValuesByRow) -> list[Record]:
        """Give the records concerned as they were."""
        return self._records(self.rows_before, values, self._recent_before)

    def records_after(self, values: ValuesByRow) -> list[Record]:
        """Give the records concerned as they are."""
        return self._records(self.rows_after, values, self._recent_after)

    def _records(
        self, rows: Mapping[int, str], values: ValuesByRow, recent: Mapping[str, Vector]
    ) -> list[Record]:
        flushed = self._flushed_vectors
        return [
            _record(record_id, recent.get(record_id, flushed.get(record_id)), values.get(row_id))
            for row_id, record_id in rows.items()
        ]

    @property
    def index_read(self) -> bool:
        """Whether there are vectors to be looked up in the index."""
        return bool(self._flushed_ids)

    @cached_property
    def _flushed_vectors(self) -> dict[str, Vector]:
        if not self._flushed_ids:
            return {}
        folder = self.records.directory / self.anatomy.vector_segment
        return stored_vectors(folder, self.anatomy.dimension or 0, self._flushed_ids)

    @cached_property
    def _flushed_ids(self) -> set[str]:
        if not self.anatomy.flushed_seq_id:
            return set()
        # What is new has its vector in the log: mostly there is nothing to look up.
        wanted = {*self.rows_before.values()} - self._recent_before.keys()
        return wanted | ({*self.rows_after.values()} - self._recent_after.keys())

    @cached_property
    def _recent_before(self) -> dict[str, Vector]:
        changes = self.records.changes.get("embeddings", _NOTHING)
        gone = {str(row[2]): _seq_id(row[3]) for row in changes.removed.values()}
        last_changes = {**self.anatomy.fresh_rows, **gone}
        return self._recent(self.earlier_log, self.rows_before, last_changes)

    @cached_property
    def _recent_after(self) -> dict[str, Vector]:
        return self._recent(self.anatomy.log, self.rows_after, self.anatomy.fresh_rows)

    def _recent(
        self, log: Iterable[LogEntry], rows: Mapping[int, str], last_changes: Mapping[str, int]
    ) -> dict[str, Vector]:
        """Give the vectors that the index lacks, of records that are there."""
        _, waiting = split_log(log, self.anatomy.flushed_seq_id)
        # Of an ADD it is not known here whether it found its id there: a row that names it as
        # its last change says that it did not.
        applied = apply_log(waiting, None, last_changes)
        unsure = sorted(applied.unsure & {*rows.values()})
        if unsure:
            raise CannotTellError(f"the log does not say which vector {unsure[0]!r} has")
        return applied.vectors

    def _own(self, rows: Mapping[int, RecordRow]) -> dict[int, str]:
        own = self.metadata_segment
        return {i: row.record_id for i, row in rows.items() if row.segment_id == own}


def _record(record_id: str, vector: Vector | None, values: Mapping[str, Any] | None) -> Record:
    if vector is None:
        raise CannotTellError(f"record {record_id!r} has no vector")
    metadata = dict(values or {})
    document = metadata.pop(DOCUMENT_KEY, None)
    return Record(record_id, vector, document if isinstance(document, str) else None, metadata)


def _seq_id(value: Value) -> int:
    return seq_id_of(value) if isinstance(value, int | bytes) else 0


def _both(changes: RowChanges) -> Iterable[tuple[Any, ...]]:
    return (*changes.removed.values(), *changes.added.values())


def _value(row: tuple[Any, ...]) -> tuple[Any, ...]:
    row_id, key, text, number, real, boolean = row
    # A real number without a fraction is stored as a whole one.
    value = text if text is not None else number
    return row_id, key, (float(real) if value is None and real is not None else value), boolean


def _topic(row: tuple[Any, ...], collection: CollectionRow) -> bool:
    return str(row[3]).endswith(f"/{collection.collection_id}")


def _entry(seq_id: int, row: tuple[Any, ...]) -> LogEntry:
    _, _, operation, _, record_id, vector, *_ = row
    array = None if vector is None else np.frombuffer(vector, dtype="<f4")
    return LogEntry(seq_id_of(seq_id), LogOperation(operation), str(record_id), array)
