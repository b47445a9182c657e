"""ChromaDB's SQLite file -> plain data, read only and without ChromaDB.

Only ever for a closed directory: opening the file with a second SQLite library in a process
where ChromaDB has it open drops ChromaDB's locks. ``immutable=1`` neither locks nor writes.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from chromaseal.adapters.chroma.index_settings import (
    index_settings,
    old_settings,
    settings_columns,
)
from chromaseal.record import MetadataValue
from chromaseal.seal.anatomy import LogEntry, LogOperation, Row
from chromaseal.seal.log import DOCUMENT_KEY
from chromaseal.seal.quiet import DATABASE

_HEADER_BYTES = 100
_METADATA = """
    SELECT id, key, coalesce(string_value, int_value, float_value), bool_value
    FROM {table} ORDER BY rowid
"""
_COLLECTIONS = """
    SELECT c.id, c.name, dimension, {settings},
           coalesce(d.tenant_id, 'default_tenant'), coalesce(d.name, 'default_database')
    FROM collections AS c LEFT JOIN databases AS d ON d.id = c.database_id
    ORDER BY c.name, d.tenant_id, d.name
"""
_FRESH = """
    SELECT embedding_id, seq_id FROM embeddings WHERE segment_id = ? AND seq_id > ?
"""


class CollectionRow(NamedTuple):
    """One collection as SQLite has it."""

    collection_id: str
    name: str
    dimension: int | None
    space: str
    tenant: str
    database: str


class Database:
    """An open, read-only ``chroma.sqlite3``; use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / DATABASE
        self._db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        # Pages are looked at where they are, not copied first: a fifth less to do.
        self._db.execute(f"PRAGMA mmap_size = {self.path.stat().st_size}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def page_size_and_count(self) -> tuple[int, int]:
        """Give page size and page count as the file's header says."""
        with self.path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        size = int.from_bytes(header[16:18], "big")
        return (65536 if size == 1 else size), int.from_bytes(header[28:32], "big")

    def is_write_ahead(self) -> bool:
        """Whether it is in WAL mode: the file format's "read version" at 19 is 2 then."""
        with self.path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        return header[19:20] == b"\x02"

    @property
    def connection(self) -> sqlite3.Connection:
        """Give the connection, for questions of one's own."""
        return self._db

    def migrations(self) -> dict[str, int]:
        """Give the newest migration of each part of the schema."""
        return dict(self._db.execute("SELECT dir, max(version) FROM migrations GROUP BY dir"))

    def collections(self) -> list[CollectionRow]:
        """Give every collection."""
        query = _COLLECTIONS.format(settings=settings_columns(self._db))
        old = old_settings(self._db)
        return [
            CollectionRow(i, name, size, _space(config, schema, old.get(i, {})), tenant, database)
            for i, name, size, config, schema, tenant, database in self._db.execute(query)
        ]

    def segments(self, collection_id: str) -> list[tuple[str, str]]:
        """Give a collection's segments: scope (``VECTOR``, ``METADATA``) and id."""
        query = "SELECT scope, id FROM segments WHERE collection = ? ORDER BY scope"
        return self._db.execute(query, (collection_id,)).fetchall()

    def max_seq_id(self, segment_id: str) -> int:
        """Give up to where a segment has applied the log; 0 before the first time."""
        query = "SELECT seq_id FROM max_seq_id WHERE segment_id = ?"
        found = self._db.execute(query, (segment_id,)).fetchone()
        return seq_id_of(found[0]) if found else 0

    def row_ids(self, segment_id: str) -> dict[int, str]:
        """Give the ids of a metadata segment's records, by row."""
        query = "SELECT id, embedding_id FROM embeddings WHERE segment_id = ? ORDER BY id"
        return dict(self._db.execute(query, (segment_id,)))

    def fresh_rows(self, segment_id: str, flushed_seq_id: int) -> dict[str, int]:
        """Give the log entries that last changed a segment's records, if later than one."""
        found = self._db.execute(_FRESH, (segment_id, flushed_seq_id))
        changed = {record_id: seq_id_of(seq_id) for record_id, seq_id in found}
        # Older schemas have bytes, which SQLite takes to be greater than any number.
        return {record_id: seq for record_id, seq in changed.items() if seq > flushed_seq_id}

    def logged_rows(self, segment_id: str, record_ids: Iterable[str]) -> dict[str, int]:
        """Give the log entries that last changed some of a segment's records."""
        query = "SELECT seq_id FROM embeddings WHERE segment_id = ? AND embedding_id = ?"
        found = {i: self._db.execute(query, (segment_id, i)).fetchone() for i in set(record_ids)}
        return {record_id: seq_id_of(row[0]) for record_id, row in found.items() if row}

    def rows(self, segment_id: str) -> Iterator[Row]:
        """Give a metadata segment's records."""
        for row_id, record_id in self.row_ids(segment_id).items():
            values = dict(self._metadata.get(row_id, {}))
            document = values.pop(DOCUMENT_KEY, None)
            yield Row(record_id, document if isinstance(document, str) else None, values)

    def log(self, collection_id: str, *, with_values: bool = False) -> Iterator[LogEntry]:
        """Give a collection's pending log, oldest first."""
        query = (
            "SELECT seq_id, operation, id, vector, metadata FROM embeddings_queue "
            "WHERE topic LIKE '%/' || ? ORDER BY seq_id"
        )
        for seq_id, operation, record_id, vector, text in self._db.execute(query, (collection_id,)):
            array = None if vector is None else np.frombuffer(vector, dtype="<f4")
            values = _mapping(text) if with_values and text else None
            yield LogEntry(seq_id, LogOperation(operation), record_id, array, values=values)

    @cached_property
    def _metadata(self) -> Mapping[int, dict[str, MetadataValue]]:
        """Everybody's metadata, by row: collections share a table, and one reading is enough."""
        lists = self._values("embedding_metadata_array") if self.has_arrays() else ()
        return metadata_by_row(self._values("embedding_metadata"), lists)

    def _values(self, table: str) -> sqlite3.Cursor:
        return self._db.execute(_METADATA.format(table=table))

    def has_arrays(self) -> bool:
        """Whether this schema knows list values."""
        query = "SELECT 1 FROM sqlite_master WHERE name = 'embedding_metadata_array'"
        with closing(self._db.execute(query)) as rows:
            return rows.fetchone() is not None


def metadata_by_row(
    values: Iterable[Sequence[Any]], items: Iterable[Sequence[Any]]
) -> dict[int, dict[str, MetadataValue]]:
    """Put metadata together.

    Args:
        values: row, key, value, and what it is in place of a value that is None: 0 or 1.
        items: the same for the items of lists, in order.

    Returns:
        By row, by key.
    """
    found: defaultdict[int, dict[str, MetadataValue]] = defaultdict(dict)
    for row_id, key, value, boolean in values:
        found[row_id][key] = bool(boolean) if value is None else value
    for row_id, key, value, boolean in items:
        listed = found[row_id].setdefault(key, [])
        if isinstance(listed, list):
            listed.append(bool(boolean) if value is None else value)  # type: ignore[arg-type] # one kind per list
    return found


def seq_id_of(value: int | bytes | None) -> int:
    """Read a number in the log: older schemas have bytes."""
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value or 0)


def _mapping(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError("metadata in the log that is no mapping")
    return found


def _space(config_json: str | None, schema_json: str | None, old: Mapping[str, Any]) -> str:
    try:
        return index_settings(config_json, schema_json, old).space
    except AttributeError as error:
        raise TypeError("settings of a collection that are no mapping") from error
