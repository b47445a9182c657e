"""ChromaDB's SQLite file -> plain data, read only and without ChromaDB.

Only ever for a closed directory: opening the file with a second SQLite library in a process
where ChromaDB has it open drops ChromaDB's locks. ``immutable=1`` neither locks nor writes.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from chromaseal.record import MetadataValue
from chromaseal.seal.anatomy import LogEntry, LogOperation, Row
from chromaseal.seal.quiet import DATABASE

DOCUMENT_KEY = "chroma:document"
_HEADER_BYTES = 100
_DIFFERENT_TEXTS = """
    SELECT count(*) FROM (
        SELECT m.id FROM embedding_metadata AS m
        LEFT JOIN embedding_fulltext_search_content AS t ON t.id = m.id
        WHERE m.key = 'chroma:document' AND t.c0 IS NOT m.string_value
        UNION ALL
        SELECT t.id FROM embedding_fulltext_search_content AS t
        LEFT JOIN embedding_metadata AS m ON m.id = t.id AND m.key = 'chroma:document'
        WHERE m.id IS NULL
    )
"""
_FULL_TEXT_CHECK = """
    INSERT INTO embedding_fulltext_search (embedding_fulltext_search) VALUES ('integrity-check')
"""
_VALUES = """
    SELECT m.id, m.key, m.string_value, m.int_value, m.float_value, m.bool_value
    FROM {table} AS m JOIN embeddings AS e ON e.id = m.id
    WHERE e.segment_id = ? ORDER BY m.rowid
"""


class CollectionRow(NamedTuple):
    """One collection as SQLite has it."""

    collection_id: str
    name: str
    dimension: int | None
    space: str


class Database:
    """An open, read-only ``chroma.sqlite3``; use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / DATABASE
        self._db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)

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

    def integrity_check(self) -> tuple[str, ...]:
        """Let SQLite check its own structure, indexes against their tables included."""
        return tuple(row[0] for row in self._db.execute("PRAGMA integrity_check(10)"))

    def full_text_check(self) -> str:
        """Compare documents with the full-text index; say what is wrong, or nothing."""
        [different] = self._db.execute(_DIFFERENT_TEXTS).fetchone()
        if different:
            return f"{different} documents are not in the full-text index as they are"
        # FTS5 checks itself by an INSERT, so it gets a copy of the file to write to.
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copyfile(self.path, Path(folder) / DATABASE)
            with closing(sqlite3.connect(copy)) as db:
                try:
                    db.execute(_FULL_TEXT_CHECK)
                except sqlite3.DatabaseError as error:
                    return str(error)
        return ""

    def migrations(self) -> dict[str, int]:
        """Give the newest migration of each part of the schema."""
        return dict(self._db.execute("SELECT dir, max(version) FROM migrations GROUP BY dir"))

    def collections(self) -> list[CollectionRow]:
        """Give every collection."""
        rows = self._db.execute(
            "SELECT id, name, dimension, config_json_str, schema_str FROM collections ORDER BY name"
        )
        return [CollectionRow(i, name, size, _space(*config)) for i, name, size, *config in rows]

    def segments(self, collection_id: str) -> dict[str, str]:
        """Give segment ids by scope: ``VECTOR`` and ``METADATA``."""
        query = "SELECT scope, id FROM segments WHERE collection = ?"
        return dict(self._db.execute(query, (collection_id,)))

    def max_seq_id(self, segment_id: str) -> int:
        """Give up to where a segment has applied the log; 0 before the first time."""
        query = "SELECT seq_id FROM max_seq_id WHERE segment_id = ?"
        found = self._db.execute(query, (segment_id,)).fetchone()
        if found is None:
            return 0
        return int.from_bytes(found[0], "big") if isinstance(found[0], bytes) else int(found[0])

    def rows(self, segment_id: str) -> Iterator[Row]:
        """Give a metadata segment's records."""
        metadata = self._metadata(segment_id)
        query = "SELECT id, embedding_id FROM embeddings WHERE segment_id = ? ORDER BY id"
        for row_id, record_id in self._db.execute(query, (segment_id,)):
            values = metadata.get(row_id, {})
            document = values.pop(DOCUMENT_KEY, None)
            yield Row(record_id, document if isinstance(document, str) else None, values)

    def log(self, collection_id: str) -> Iterator[LogEntry]:
        """Give a collection's pending log, oldest first."""
        query = (
            "SELECT seq_id, operation, id, vector FROM embeddings_queue "
            "WHERE topic LIKE '%/' || ? ORDER BY seq_id"
        )
        for seq_id, operation, record_id, vector in self._db.execute(query, (collection_id,)):
            array = None if vector is None else np.frombuffer(vector, dtype="<f4")
            yield LogEntry(seq_id, LogOperation(operation), record_id, array)

    def _metadata(self, segment_id: str) -> dict[int, dict[str, MetadataValue]]:
        found: defaultdict[int, dict[str, MetadataValue]] = defaultdict(dict)
        for row_id, key, *value in self._values("embedding_metadata", segment_id):
            found[row_id][key] = _value(*value)
        if self._has_arrays():
            for row_id, key, *value in self._values("embedding_metadata_array", segment_id):
                items = found[row_id].setdefault(key, [])
                if isinstance(items, list):
                    items.append(_value(*value))  # type: ignore[arg-type] # one kind per list
        return found

    def _values(self, table: str, segment_id: str) -> sqlite3.Cursor:
        return self._db.execute(
            _VALUES.format(table=table),
            (segment_id,),
        )

    def _has_arrays(self) -> bool:
        query = "SELECT 1 FROM sqlite_master WHERE name = 'embedding_metadata_array'"
        with closing(self._db.execute(query)) as rows:
            return rows.fetchone() is not None


def _value(
    text: str | None, integer: int | None, real: float | None, boolean: int | None
) -> MetadataValue:
    if text is not None:
        return text
    if integer is not None:
        return integer
    if real is not None:
        return real
    return bool(boolean)


def _space(config_json: str | None, schema_json: str | None) -> str:
    """Find the distance: in the schema (1.x) or the configuration (0.6 to 1.0)."""
    schema = json.loads(schema_json) if schema_json else {}
    lists = schema.get("keys", {}).get("#embedding", {}).get("float_list", {})
    space = lists.get("vector_index", {}).get("config", {}).get("space")
    if not space:
        config = json.loads(config_json) if config_json else {}
        space = (config.get("hnsw") or {}).get("space")
    return str(space or "l2")
