"""A damaged ChromaDB directory -> what can be read of it.

Read only, without ChromaDB, and with every value's type looked at before it is believed.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from chromaseal.adapters.chroma.cells import is_mapping, numbers_in, place_in, value_in
from chromaseal.adapters.chroma.hnsw import FILES, PICKLE
from chromaseal.adapters.chroma.index_settings import IndexSettings, index_settings
from chromaseal.adapters.chroma.torn_index import read_torn_index
from chromaseal.adapters.chroma.torn_table import Cells, read_disputes, read_index, read_table
from chromaseal.repair.remains import (
    CollectionRemains,
    EntryRemains,
    Remains,
    RowRemains,
    SegmentRemains,
    Settings,
)
from chromaseal.seal.log import DOCUMENT_KEY
from chromaseal.seal.quiet import DATABASE

LOG_COLUMNS = ("operation", "topic", "id", "vector", "encoding", "metadata")
# Tables whose rows are taken along as they are.
KEPT = {
    "tenants": ("id",),
    "databases": ("id", "name", "tenant_id"),
    "collection_metadata": (
        *("collection_id", "key", "str_value", "int_value", "float_value", "bool_value"),
    ),
}
# Of a vector segment: how old releases say what its index is like.
SEGMENT_METADATA = (
    "segment_metadata",
    ("segment_id", "key", "str_value", "int_value", "float_value", "bool_value"),
)
_COLLECTIONS = ("id", "name", "dimension", "database_id", "config_json_str", "schema_str")
_VALUES = ("id", "key", "string_value", "int_value", "float_value", "bool_value")
# ChromaDB reads it as a number of 32 bits, and dies of a larger one.
_MOST_DIMENSIONS = 2**31 - 1
# The step of the schema that brought lists.
_LISTS_SINCE = ("metadb", 6)
_SCOPES = {"urn:chroma:segment/vector/": "VECTOR", "urn:chroma:segment/metadata/": "METADATA"}
_FULL_TEXT = "embedding_fulltext_search_content"
_FULL_TEXT_CHECK = """
    INSERT INTO embedding_fulltext_search (embedding_fulltext_search) VALUES ('integrity-check')
"""
_INTEGRITY_CHECK = "PRAGMA integrity_check(1000)"
_NO_PROBLEM = {"ok", "*** in database main ***"}
# What SQLite says: "row 7 missing from index x", "wrong # of entries in index x".
_OF_INDEX = re.compile(r"(missing from|entries in|entry in) index")
# "On tree page 35 cell 0" (3.40), "Tree 35 page 9 cell 0" (3.42).
_TREE = re.compile(r"[Tt]ree (?:page )?(\d+)")
_DISPUTED = "the table and its index do not have the same"
_DELETE = 3
_HEADER_BYTES = 100


def read_remains(directory: Path) -> Remains:
    """Read what can be read.

    Args:
        directory: a private copy; the full-text index is asked to check itself, which is a write.
    """
    remains = Remains()
    try:
        remains.is_torn = _is_torn(directory / DATABASE)
        with closing(_connect(directory)) as db:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            _Reading(db, remains).read()
    except (sqlite3.Error, OSError) as error:
        # The path would be that of the private copy.
        said = error.strerror if isinstance(error, OSError) else None
        remains.problem = f"{DATABASE}: {said}" if said else str(error)
        remains.tables_whole = False
    dimensions = {each.dimension for each in remains.collections if each.dimension}
    dimensions |= {len(each.vector) for each in remains.log if each.vector is not None}
    neighbours = {each.settings.max_neighbours for each in remains.collections if each.settings}
    for folder in sorted(path for path in directory.iterdir() if path.is_dir()):
        if any((folder / name).exists() for name in (*FILES, PICKLE)):
            index = read_torn_index(
                folder, dimensions, neighbours or {IndexSettings().max_neighbours}
            )
            remains.indexes[folder.name] = index
    return remains


def _is_torn(database: Path) -> bool:
    """Whether a file has more pages than its header says.

    Source: the SQLite file format, "The Database Header": page size at 16, change counter at 24,
    number of pages at 28, which counts only where the number at 92 is the change counter.
    """
    with database.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        size_bytes = os.fstat(file.fileno()).st_size
    if len(header) < _HEADER_BYTES or header[24:28] != header[92:96]:
        return False
    (page_bytes,) = struct.unpack_from(">H", header, 16)
    (pages,) = struct.unpack_from(">I", header, 28)
    # 1 stands for 65,536.
    return bool(0 < pages < size_bytes // (page_bytes if page_bytes > 1 else 1 << 16))


def _connect(directory: Path) -> sqlite3.Connection:
    path = (directory / DATABASE).absolute()
    # Without a mode of its own SQLite would make a file that is missing.
    db = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)
    db.text_factory = _text
    # SQLite refuses a file that is shorter than its header says, but in this mode.
    db.execute("PRAGMA writable_schema = ON")
    return db


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


class _Reading:
    """One database, read table by table."""

    def __init__(self, db: sqlite3.Connection, remains: Remains) -> None:
        self._db = db
        self._remains = remains
        self._disputed: dict[int, list[str]] = {}
        self._torn: set[str] = set()

    def read(self) -> None:
        """Fill in everything that the database has."""
        remains = self._remains
        remains.tables_whole = self._are_tables_sound()
        collections = self._settled("collections", _COLLECTIONS)
        segments = self._settled("segments", ("id", "type", "scope", "collection"))
        remains.segments = list(_segments(segments))
        for table, columns in KEPT.items():
            rows = list(self._settled(table, columns).values())
            if table == "collection_metadata":
                rows = [cells for cells in rows if self._is_value(cells)]
            remains.cells[table] = (columns, rows)
        remains.collections = list(self._collections(collections))
        columns = ("segment_id", "seq_id")
        places = self._table("max_seq_id", columns)
        # Of a place that is named twice nothing is known; it can be done without.
        for row_id in read_disputes(self._db, "max_seq_id", columns, places):
            places.pop(row_id, None)
        found = {segment: place_in(place) for segment, place in places.values()}
        remains.places = {segment: place for segment, place in found.items() if place is not None}
        self._read_log()
        self._read_rows()

    def _collections(self, rows: dict[int, Cells]) -> Iterator[CollectionRemains]:
        """Give the collections, with what old releases have in their segments' metadata."""
        columns, values = SEGMENT_METADATA, list(self._settled(*SEGMENT_METADATA).values())
        self._remains.cells[columns[0]] = (columns[1], values)
        whole = columns[0] not in self._torn
        vectors = {
            e.segment_id: e.collection_id for e in self._remains.segments if e.scope == "VECTOR"
        }
        for cells in rows.values():
            if isinstance(cells[0], str) and isinstance(cells[1], str):
                found = {
                    key: number if text is None else text
                    for segment, key, text, number, *_ in values
                    if vectors.get(segment) == cells[0]
                }
                yield _collection(cells, found if found or whole else None)

    def _is_value(self, cells: Cells) -> bool:
        """Whether ChromaDB can read a value of a collection's metadata; note it if not."""
        collection_id, key, *values = cells
        _, problem = value_in(*values)
        odd = bool(problem) and any(value is not None for value in values)
        if odd:
            self._remains.disputed.append(
                f"metadata {key} of collection {collection_id}: {problem}"
            )
        return not odd

    def _are_tables_sound(self) -> bool:
        """Whether SQLite finds nothing wrong but in indexes, which say nothing of their own."""
        indexes = {
            str(root)
            for (root,) in self._db.execute("SELECT rootpage FROM sqlite_master WHERE type='index'")
        }
        try:
            said = [text for (text,) in self._db.execute(_INTEGRITY_CHECK)]
        except sqlite3.DatabaseError:
            return False
        lines = [line for text in said for line in str(text).splitlines()]
        return all(_concerns_an_index(line, indexes) for line in lines if line not in _NO_PROBLEM)

    def _table(self, table: str, columns: tuple[str, ...]) -> dict[int, Cells]:
        found = read_table(self._db, table, columns)
        self._remains.tables_whole &= found.whole
        if not found.whole:
            self._torn.add(table)
        return found.rows

    def _settled(self, table: str, columns: tuple[str, ...]) -> dict[int, Cells]:
        """Read a table of what is no record, and note what its indexes say differently."""
        rows = self._table(table, columns)
        disputes = read_disputes(self._db, table, columns, rows)
        self._remains.disputed += [
            f"row {row_id} of {table}: {'; '.join(said)}" for row_id, said in disputes.items()
        ]
        return rows

    def _read_log(self) -> None:
        found = read_table(self._db, "embeddings_queue", LOG_COLUMNS)
        self._remains.log_whole = found.whole
        self._remains.log = [_entry(seq_id, cells) for seq_id, cells in found.rows.items()]

    def _read_rows(self) -> None:
        rows = {
            row_id: RowRemains(row_id, segment, record_id, place_in(seq_id))
            for row_id, (segment, record_id, seq_id) in self._embeddings().items()
            if isinstance(segment, str) and isinstance(record_id, str)
        }
        self._remains.rows = list(rows.values())
        for row_id in self._disputed.keys() & rows.keys():
            rows[row_id].lost["id"] = _DISPUTED
        self._read_values(rows)
        self._read_lists(rows)
        self._read_documents(rows)

    def _embeddings(self) -> dict[int, Cells]:
        columns = ("segment_id", "embedding_id", "seq_id")
        rows = self._table("embeddings", columns)
        # The index knows the ids of rows that are gone from the table.
        index = read_index(
            self._db, "embeddings", ("segment_id", "embedding_id", "id"), columns[:2]
        )
        self._disputed = read_disputes(self._db, "embeddings", columns, rows)
        there = {(segment, record_id, row_id) for row_id, (segment, record_id, _) in rows.items()}
        for segment, record_id, _ in (index or set()) - there:
            if isinstance(record_id, str):
                self._remains.tables_whole = False
                self._remains.unnamed.setdefault(str(segment), set()).add(record_id)
        return rows

    def _read_values(self, rows: dict[int, RowRemains]) -> None:
        table = self._table("embedding_metadata", _VALUES)
        found = table.values()
        expected = read_index(self._db, "embedding_metadata", ("id", "key"), ("id", "key"))
        self._confirm(expected)
        for row_id, key, *values in found:
            row = rows.get(row_id)
            if row is None or not isinstance(key, str):
                self._remains.orphans.append({"row": row_id, "key": str(key), "value": str(values)})
                continue
            value, problem = value_in(*values)
            if problem:
                row.lost[key] = problem
            elif key == DOCUMENT_KEY:
                row.document = str(value)
            else:
                row.metadata[key] = value
        for row_id, key in (expected or set()) - {(row_id, key) for row_id, key, *_ in found}:
            if row_id in rows:
                rows[row_id].lost.setdefault(str(key), "its row cannot be read")
        self._doubt("embedding_metadata", table, rows)

    def _doubt(self, table: str, found: dict[int, Cells], rows: dict[int, RowRemains]) -> None:
        """Believe no value of which the table's own indexes say something else."""
        for place, said in read_disputes(self._db, table, _VALUES, found).items():
            row_id, key, *_ = found.get(place, (None, None))
            if row_id in rows:
                rows[row_id].lost.setdefault(str(key), f"{_DISPUTED}: {said[0]}")

    def _confirm(self, expected: set[Cells] | None) -> None:
        """Note whether anything says which values there should be."""
        if expected is None and not self._remains.tables_whole:
            self._remains.values_confirmed = False

    def _read_lists(self, rows: dict[int, RowRemains]) -> None:
        table = "embedding_metadata_array"
        steps = read_table(self._db, "migrations", ("dir", "version")).rows.values()
        is_old = _LISTS_SINCE not in steps
        if is_old and self._remains.tables_whole and not read_table(self._db, table, _VALUES).whole:
            return
        found = self._table(table, _VALUES)
        expected = read_index(self._db, table, ("rowid", "id", "key"), ("id", "key"))
        self._confirm(expected)
        for row_id, key, *values in found.values():
            row = rows.get(row_id)
            # ChromaDB itself leaves lists of records that are gone.
            if row is None or not isinstance(key, str):
                continue
            value, problem = value_in(*values)
            items = row.metadata.setdefault(key, [])
            if problem or not isinstance(items, list):
                row.lost[key] = problem or "both a value and a list"
            else:
                items.append(value)
        self._doubt(table, found, rows)
        # By what they say and not by their places alone: a page of another table has places too.
        there = {(place, row_id, key) for place, (row_id, key, *_) in found.items()}
        for _, row_id, key in (expected or set()) - there:
            if row_id in rows:
                rows[row_id].lost.setdefault(str(key), "its row cannot be read")

    def _read_documents(self, rows: dict[int, RowRemains]) -> None:
        """Compare the documents with the full-text index, if that agrees with itself."""
        texts = read_table(self._db, _FULL_TEXT, ("c0",))
        if not texts.whole or not self._full_text_agrees():
            return
        for row_id, (text,) in texts.rows.items():
            row = rows.get(row_id)
            if row is not None and row.document != text and DOCUMENT_KEY not in row.lost:
                row.lost[DOCUMENT_KEY] = f"the full-text index has another one: {text!r}"

    def _full_text_agrees(self) -> bool:
        with suppress(sqlite3.DatabaseError):
            self._db.execute(_FULL_TEXT_CHECK)
            return True
        return False


def _concerns_an_index(line: str, indexes: set[str]) -> bool:
    tree = _TREE.search(line)
    return bool(_OF_INDEX.search(line)) or (tree is not None and tree[1] in indexes)


def _collection(cells: Cells, old: Mapping[str, Any] | None) -> CollectionRemains:
    collection_id, name, dimension, database_id, config, schema = cells
    return CollectionRemains(
        collection_id,
        name,
        str(database_id),
        dimension if isinstance(dimension, int) and 0 < dimension <= _MOST_DIMENSIONS else None,
        _settings(config, schema, old),
        dict(zip(_COLLECTIONS, cells, strict=True)),
    )


def _settings(
    config: Any,  # noqa: ANN401 - may be anything
    schema: Any,  # noqa: ANN401
    old: Mapping[str, Any] | None,
) -> Settings | None:
    try:
        found = index_settings(config, schema, old or {})
        if old is None and found == index_settings(None, None, {}):
            # It is what a collection of an old release has that says nothing, and nobody knows.
            return None
        return Settings(found.space, found.max_neighbours)
    except (ValueError, TypeError, AttributeError):
        return None


def _segments(rows: dict[int, Cells]) -> Iterator[SegmentRemains]:
    for segment_id, kind, scope, collection in rows.values():
        named = next((s for urn, s in _SCOPES.items() if str(kind).startswith(urn)), str(scope))
        yield SegmentRemains(str(segment_id), named, str(collection))


def _entry(seq_id: int, cells: Cells) -> EntryRemains:
    operation, topic, record_id, vector, encoding, metadata = cells
    numbers = numbers_in(vector, encoding)
    sound = (
        operation in range(_DELETE + 1)
        and isinstance(topic, str)
        and isinstance(record_id, str)
        and (vector is None or numbers is not None)
        and is_mapping(metadata)
    )
    known = operation if isinstance(operation, int) else -1
    values = json.loads(metadata) if sound and metadata else {}
    return EntryRemains(seq_id, known, str(topic), str(record_id), numbers, sound, values)
