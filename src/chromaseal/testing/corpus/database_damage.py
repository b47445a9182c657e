"""Damage inside ``chroma.sqlite3`` that leaves it a database: rows lost, changed, of odd types."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from chromaseal.seal.quiet import DATABASE
from chromaseal.testing.corpus.case import Damage, Kind
from chromaseal.testing.corpus.healthy import DIMENSION, Base

_PAGE = 4096
_TABLE_LEAF = 13
_WORDS = {
    "$OF_VECTORS": "(SELECT id FROM segments WHERE scope = 'VECTOR')",
    "$OF_RECORDS": "(SELECT id FROM segments WHERE scope = 'METADATA')",
    "$LAST_UPDATE": "(SELECT max(seq_id) FROM embeddings_queue WHERE operation = 1)",
    "$LAST_UPSERT": "(SELECT max(seq_id) FROM embeddings_queue WHERE operation = 2)",
    "$LAST_DELETE": "(SELECT max(seq_id) FROM embeddings_queue WHERE operation = 3)",
}


def _sql(statement: str, directory: Path, _: Base, chance: np.random.Generator) -> str:
    """Run one statement, with ``:row`` for a random row of ``embeddings``."""
    for word, meaning in _WORDS.items():
        statement = statement.replace(word, meaning)
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        # What keeps a healthy program from such rows must not keep us.
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute("PRAGMA foreign_keys = OFF")
        rows = [row for (row,) in db.execute("SELECT id FROM embeddings ORDER BY id")]
        row = rows[int(chance.integers(len(rows)))]
        named = {"row": row} if ":row" in statement else {}
        changed = db.execute(statement, named).rowcount
    if changed < 1:
        raise AssertionError(f"nothing was changed by {statement}")
    return f"{statement} ({changed} rows)"


def _vector(value: float, size: int, directory: Path, _: Base, chance: np.random.Generator) -> str:
    """Replace the newest pending vector."""
    vector = chance.standard_normal(size).astype("<f4")
    vector[0] = value
    statement = """
        UPDATE embeddings_queue SET vector = ?
        WHERE seq_id = (SELECT max(seq_id) FROM embeddings_queue WHERE vector IS NOT NULL)
    """
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        db.execute(statement, (vector.tobytes(),))
    return f"a pending vector of {size} numbers begins with {value}"


def _flushed_vector(directory: Path, _: Base, chance: np.random.Generator) -> str:
    """Replace the vector that the log has kept of what the index has applied last."""
    vector = chance.standard_normal(DIMENSION).astype("<f4")
    statement = """
        UPDATE embeddings_queue SET vector = ?
        WHERE seq_id = (SELECT min(seq_id) FROM embeddings_queue WHERE vector IS NOT NULL)
    """
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        db.execute(statement, (vector.tobytes(),))
    return "the log has another vector of the last flush"


def _in_table(old: bytes, new: bytes, question: str, directory: Path, _: Base, __: object) -> str:
    """Change a value in a table's page and not in its index; what is free has old values, too."""
    path = directory / DATABASE
    before = path.read_bytes()
    start = before.find(old)
    while start >= 0:
        page = before[start - start % _PAGE]
        if page == _TABLE_LEAF:
            path.write_bytes(before[:start] + new + before[start + len(old) :])
            with closing(sqlite3.connect(path)) as db:
                if db.execute(question).fetchone():
                    return f"{old!r} is {new!r} in the table, and not in its index"
        start = before.find(old, start + 1)
    raise AssertionError(f"no table has {old!r}")


def _without_owner(directory: Path, _: Base, __: object) -> str:
    """Lose all of a collection but its records."""
    own = "(SELECT id FROM collections WHERE name = 'words')"
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        db.execute(f"DELETE FROM embeddings_queue WHERE topic LIKE '%/' || {own}")  # noqa: S608
        db.execute(f"DELETE FROM segments WHERE collection = {own}")  # noqa: S608
        db.execute("DELETE FROM collections WHERE name = 'words'")
    return "a collection has lost its row, its segments and its log"


def _several(base: Base) -> bool:
    return base.name.startswith("several")


def _pending(base: Base) -> bool:
    return base.pending


def _flushed(base: Base) -> bool:
    return base.flushed


def _with_log(base: Base) -> bool:
    return base.pending and base.flushed


_STATEMENTS = {
    "log: newest entries lost": "DELETE FROM embeddings_queue WHERE seq_id > "
    "(SELECT max(seq_id) - 5 FROM embeddings_queue)",
    "log: a delete lost": "DELETE FROM embeddings_queue WHERE seq_id = $LAST_DELETE",
    "log: an upsert lost": "DELETE FROM embeddings_queue WHERE seq_id = $LAST_UPSERT",
    "log: an update lost": "DELETE FROM embeddings_queue WHERE seq_id = $LAST_UPDATE",
    "log: all lost": "DELETE FROM embeddings_queue WHERE seq_id > 0",
    "log: an operation that is none": "UPDATE embeddings_queue SET operation = 7 "
    "WHERE seq_id = $LAST_UPSERT",
    "log: an id that is a number": "UPDATE embeddings_queue SET id = x'0102' "
    "WHERE seq_id = $LAST_UPSERT",
    "log: a vector of text": "UPDATE embeddings_queue SET vector = 'text' "
    "WHERE seq_id = $LAST_UPSERT",
}
_PENDING = {
    "log: other text": "UPDATE embeddings_queue SET metadata = replace(metadata, 'phase', 'faze') "
    "WHERE seq_id = (SELECT min(q.seq_id) FROM embeddings_queue AS q JOIN embeddings AS e "
    "ON e.embedding_id = q.id AND e.seq_id = q.seq_id WHERE q.metadata LIKE '%phase%')",
    "metadata: other number than the log's": "UPDATE embedding_metadata SET int_value = -1 "
    "WHERE key = 'number' AND id = (SELECT min(e.id) FROM embeddings_queue AS q JOIN embeddings "
    "AS e ON e.embedding_id = q.id AND e.seq_id = q.seq_id WHERE q.metadata LIKE '%number%')",
}
_ANY = {
    "rows: one lost": "DELETE FROM embeddings WHERE id = :row",
    "rows: one renamed": "UPDATE embeddings SET embedding_id = 'another' WHERE id = :row",
    "rows: id of bytes": "UPDATE embeddings SET embedding_id = x'00ff' WHERE id = :row",
    "rows: of no segment": "UPDATE embeddings SET segment_id = 'none' WHERE id = :row",
    "rows: number of text": "UPDATE embeddings SET seq_id = 'one' WHERE id = :row",
    "metadata: of no record": "UPDATE embedding_metadata SET id = 1000000 "
    "WHERE id = :row AND key = 'number'",
    "metadata: two values": "UPDATE embedding_metadata SET string_value = 'x' "
    "WHERE id = :row AND key = 'number'",
    "metadata: no value": "UPDATE embedding_metadata SET int_value = NULL "
    "WHERE id = :row AND key = 'number'",
    "metadata: text for a number": "UPDATE embedding_metadata SET int_value = 'seven' "
    "WHERE id = :row AND key = 'number'",
    "document: NUL inside": "UPDATE embedding_metadata SET string_value = "
    "CAST(x'610062' AS TEXT) WHERE id = :row AND key = 'chroma:document'",
    "document: lost": "DELETE FROM embedding_metadata WHERE id = :row AND key = 'chroma:document'",
    "document: changed": "UPDATE embedding_metadata SET string_value = 'changed' "
    "WHERE id = :row AND key = 'chroma:document'",
    "full text: one lost": "DELETE FROM embedding_fulltext_search_content WHERE id = :row",
    "full text: one changed": "UPDATE embedding_fulltext_search_content SET c0 = 'x' "
    "WHERE id = :row",
    "full text: pages lost": "DELETE FROM embedding_fulltext_search_data WHERE id > 10",
    "segments: of vectors lost": "DELETE FROM segments WHERE scope = 'VECTOR'",
    "segments: of records lost": "DELETE FROM segments WHERE scope = 'METADATA'",
    "segments: of no collection": "UPDATE segments SET collection = 'none' WHERE scope = 'VECTOR'",
    "segments: unknown scope": "UPDATE segments SET scope = 'OTHER' WHERE scope = 'VECTOR'",
    "collections: lost": "DELETE FROM collections WHERE name = 'notes'",
    "collections: of no database": "UPDATE collections SET database_id = 'none' "
    "WHERE name = 'notes'",
    "collections: broken schema": "UPDATE collections SET schema_str = '{' WHERE name = 'notes'",
    "collections: dimension of text": "UPDATE collections SET dimension = 'many' "
    "WHERE name = 'notes'",
    "databases: lost": "DELETE FROM databases WHERE 1",
    "tenants: lost": "DELETE FROM tenants WHERE 1",
    "schema: newer": "UPDATE migrations SET version = version + 50 WHERE dir = 'metadb' "
    "AND version = (SELECT max(version) FROM migrations WHERE dir = 'metadb')",
    "schema: none": "DELETE FROM migrations WHERE 1",
    "places: of records too small": "UPDATE max_seq_id SET seq_id = 1 "
    "WHERE segment_id IN $OF_RECORDS",
    "places: of records lost": "DELETE FROM max_seq_id WHERE segment_id IN $OF_RECORDS",
    "places: of text": "UPDATE max_seq_id SET seq_id = 'x' WHERE segment_id IN $OF_RECORDS",
    "places: nothing": "UPDATE max_seq_id SET seq_id = NULL WHERE segment_id IN $OF_RECORDS",
}
_OF_FLUSHED = {
    "collections: other dimension": "UPDATE collections SET dimension = 33 WHERE name = 'notes'",
    "places: of vectors too large": "UPDATE max_seq_id SET seq_id = seq_id + 1000000 "
    "WHERE segment_id IN $OF_VECTORS",
    "places: of vectors lost": "DELETE FROM max_seq_id WHERE segment_id IN $OF_VECTORS",
}


def _statements() -> tuple[Damage, ...]:
    groups = (
        (_STATEMENTS, _with_log),
        (_PENDING, _pending),
        (_ANY, lambda _: True),
        (_OF_FLUSHED, _flushed),
    )
    return tuple(
        Damage(name, functools.partial(_sql, statement), fits=fits)
        for statements, fits in groups
        for name, statement in statements.items()
    )


_SILENT = "nothing else on disk says what it was"

DAMAGES: tuple[Damage, ...] = (
    *_statements(),
    Damage("log: vector not finite", functools.partial(_vector, np.nan, DIMENSION), fits=_pending),
    Damage("log: vector of infinity", functools.partial(_vector, np.inf, DIMENSION), fits=_pending),
    Damage("log: vector too short", functools.partial(_vector, 1.0, DIMENSION - 1), fits=_pending),
    Damage(
        "log: other vector",
        functools.partial(_vector, 1.0, DIMENSION),
        Kind.SILENT,
        _SILENT,
        fits=_pending,
    ),
    Damage(
        "list: of no record",
        functools.partial(
            _sql,
            "INSERT INTO embedding_metadata_array (id, key, int_value) "
            "SELECT id + 1000000, 'left', 1 FROM embeddings WHERE id = :row",
        ),
        Kind.HARMLESS,
        "nobody reads it; ChromaDB itself leaves such values behind when it deletes a record",
    ),
    Damage(
        "metadata: other number",
        functools.partial(
            _sql,
            "UPDATE embedding_metadata SET int_value = int_value + 1 WHERE key = 'number' AND id = "
            "(SELECT max(id) FROM embeddings WHERE embedding_id NOT IN "
            "(SELECT id FROM embeddings_queue))",
        ),
        Kind.SILENT,
        _SILENT,
        fits=_flushed,
    ),
    Damage("log: other vector than the index's", _flushed_vector, fits=_flushed),
    Damage("collections: all but the records lost", _without_owner, fits=_several),
    Damage(
        "collections: other name in the table",
        functools.partial(
            _in_table,
            b"notes",
            b"notez",
            "SELECT 1 FROM collections NOT INDEXED WHERE name='notez'",
        ),
    ),
    Damage(
        "metadata: other text in the table",
        functools.partial(
            _in_table,
            b"phasefirst",
            b"phasefurst",
            "SELECT 1 FROM embedding_metadata NOT INDEXED WHERE string_value = 'furst'",
        ),
    ),
)
