"""Questions to a ChromaDB database whose answers say whether it is sound."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from chromaseal.adapters.chroma.database import Database
from chromaseal.seal.anatomy import DeepLook
from chromaseal.seal.quiet import DATABASE

_MOST_PROBLEMS = 10
_CACHE_KIB = 64 * 1024
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
_DIFFERENT_TEXTS_AMONG = """
    SELECT count(*) FROM json_each(?) AS asked
    LEFT JOIN embedding_metadata AS m ON m.id = asked.value AND m.key = 'chroma:document'
    LEFT JOIN embedding_fulltext_search_content AS t ON t.id = asked.value
    WHERE t.c0 IS NOT m.string_value
"""
_LOST_ROWS_AMONG = """
    SELECT count(*) FROM json_each(?) AS asked JOIN embedding_metadata AS m ON m.id = asked.value
    LEFT JOIN embeddings AS e ON e.id = asked.value WHERE e.id IS NULL
"""
_FULL_TEXT_CHECK = """
    INSERT INTO embedding_fulltext_search (embedding_fulltext_search) VALUES ('integrity-check')
"""
# Of a number in the log: since metadb 5 a whole number, before it eight bytes.
_NO_SEQ_ID = "typeof({0}) <> 'integer' AND NOT (typeof({0}) = 'blob' AND length({0}) = 8)"
_ODD_TYPES = {
    "collections": """
        typeof(id) <> 'text' OR typeof(name) <> 'text'
        OR typeof(dimension) NOT IN ('integer', 'null') OR dimension < 1
    """,
    "segments": "typeof(id) <> 'text' OR scope NOT IN ('VECTOR', 'METADATA')",
    "max_seq_id": f"typeof(segment_id) <> 'text' OR {_NO_SEQ_ID.format('seq_id')}",
    "embeddings": f"""
        typeof(segment_id) <> 'text' OR typeof(embedding_id) <> 'text'
        OR {_NO_SEQ_ID.format("seq_id")} OR seq_id < 1
    """,
    "embeddings_queue": """
        typeof(operation) <> 'integer' OR operation NOT BETWEEN 0 AND 3
        OR typeof(topic) <> 'text' OR typeof(id) <> 'text'
        OR typeof(metadata) NOT IN ('text', 'null')
        OR typeof(vector) NOT IN ('blob', 'null')
        OR (vector IS NOT NULL AND (encoding IS NOT 'FLOAT32' OR length(vector) % 4 <> 0))
    """,
}
_ODD_VALUES = """
    SELECT count(*) FROM {table}
    WHERE typeof(key) <> 'text'
       OR (string_value IS NOT NULL) + (int_value IS NOT NULL) + (float_value IS NOT NULL)
          + (bool_value IS NOT NULL) <> 1
       OR typeof(string_value) NOT IN ('text', 'null')
       OR typeof(int_value) NOT IN ('integer', 'null')
       OR typeof(float_value) NOT IN ('real', 'null')
       OR bool_value NOT IN (0, 1)
"""
# Not list values without a record: ChromaDB leaves those behind when it deletes one. Nor segments
# alone: it leaves those of all collections of a database that it deletes, with nothing else.
_LOST_ROWS = {
    "values without a record": """
        SELECT count(*) FROM embedding_metadata AS m LEFT JOIN embeddings AS e ON e.id = m.id
        WHERE e.id IS NULL
    """,
    "records without a segment": """
        SELECT count(*) FROM embeddings WHERE segment_id NOT IN (SELECT id FROM segments)
    """,
    "segments without a collection": """
        SELECT count(*) FROM segments AS s WHERE collection NOT IN (SELECT id FROM collections)
        AND (EXISTS (SELECT 1 FROM embeddings WHERE segment_id = s.id)
             OR EXISTS (SELECT 1 FROM max_seq_id WHERE segment_id = s.id)
             OR EXISTS (SELECT 1 FROM embeddings_queue WHERE topic LIKE '%/' || s.collection))
    """,
    "collections without a database": """
        SELECT count(*) FROM collections WHERE database_id NOT IN (SELECT id FROM databases)
    """,
    "databases without a tenant": """
        SELECT count(*) FROM databases WHERE tenant_id NOT IN (SELECT id FROM tenants)
    """,
}


def quick_check(database: Database) -> tuple[str, ...]:
    """Let SQLite check its own structure, but not its indexes against their tables."""
    return _pragma(database, "quick_check")


def odd_types(database: Database) -> dict[str, int]:
    """Count the rows with a value of a type that ChromaDB never writes, by table."""
    found = {
        table: _count(database.connection, f"SELECT count(*) FROM {table} WHERE {odd}")  # noqa: S608
        for table, odd in _ODD_TYPES.items()
    }
    return {table: count for table, count in found.items() if count}


def deep_look(directory: Path, scratch: Path) -> DeepLook:
    """Find out what takes long.

    Args:
        directory: closed; it is only read.
        scratch: where a copy of the database may lie; whoever made it removes it.

    Raises:
        sqlite3.Error: SQLite cannot even try.
    """
    with Database(directory) as database:
        tables = ["embedding_metadata"]
        if database.has_arrays():
            tables.append("embedding_metadata_array")
        return DeepLook(
            integrity_check=_pragma(database, "integrity_check"),
            full_text_check=_full_text_check(database, scratch),
            odd_values=sum(
                _count(database.connection, _ODD_VALUES.format(table=table)) for table in tables
            ),
            lost_rows=_lost_rows(database.connection),
        )


def check_structure(database: Database, *, thorough: bool) -> tuple[str, ...]:
    """Let SQLite check the structure of all of a database.

    Args:
        database: closed; it is only read.
        thorough: whether SQLite is to compare its indexes with their tables.
    """
    return _pragma(database, "integrity_check" if thorough else "quick_check")


def look_at_rows(database: Database, rows: Collection[int], entries: Collection[int]) -> DeepLook:
    """Ask for some records what is asked for all of them otherwise.

    Args:
        database: closed; it is only read.
        rows: of the table of records, those that are gone included.
        entries: of the log.

    Returns:
        What was found out; nothing of what SQLite says of its structure, which is not asked for.
    """
    db = database.connection
    among, entered = json.dumps(sorted(rows)), json.dumps(sorted(entries))
    tables = ["embedding_metadata"]
    if database.has_arrays():
        tables.append("embedding_metadata_array")
    odd = sum(_among(db, f"{_ODD_VALUES.format(table=name)}", "id", among) for name in tables)
    for table, key, listed in (
        ("embeddings", "id", among),
        ("embeddings_queue", "seq_id", entered),
    ):
        query = f"SELECT count(*) FROM {table} WHERE ({_ODD_TYPES[table]})"  # noqa: S608
        odd += _among(db, query, key, listed)
    different = int(db.execute(_DIFFERENT_TEXTS_AMONG, (among,)).fetchone()[0])
    lost = int(db.execute(_LOST_ROWS_AMONG, (among,)).fetchone()[0])
    return DeepLook(
        integrity_check=(),
        full_text_check=_different(different),
        odd_values=odd,
        lost_rows={"values without a record": lost} if lost else {},
    )


def check_full_text(path: Path, scratch: Path) -> str:
    """Let the full-text index check itself against its texts; say what is wrong, or nothing.

    Args:
        path: of the database, closed; it is only read.
        scratch: where a copy of it may lie; whoever made it removes it.
    """
    copy = shutil.copyfile(path, scratch / f"full-text-{DATABASE}")
    return check_full_text_in_place(copy)


def check_full_text_in_place(path: Path) -> str:
    """Let the full-text index of a file that is nobody else's check itself; say what is wrong.

    FTS5 checks itself by an INSERT that changes no page, so SQLite takes a lock and neither
    writes to the file nor begins a journal; what it might have written is rolled back.

    Args:
        path: of the database, closed, in a directory of this process's own.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            # Whoever may write reads through the cache, and reads most pages twice.
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            db.execute("BEGIN")
            db.execute(_FULL_TEXT_CHECK)
            db.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""


def _among(db: sqlite3.Connection, query: str, key: str, listed: str) -> int:
    condition, _, rest = query.partition("WHERE")
    narrowed = f"{condition} WHERE {key} IN (SELECT value FROM json_each(?)) AND ({rest})"  # noqa: S608 - own names
    return int(db.execute(narrowed, (listed,)).fetchone()[0])


def _pragma(database: Database, name: str) -> tuple[str, ...]:
    rows = database.connection.execute(f"PRAGMA {name}({_MOST_PROBLEMS})")
    return tuple(row[0] for row in rows)


def _full_text_check(database: Database, scratch: Path) -> str:
    """Compare documents with the full-text index; say what is wrong, or nothing."""
    try:
        different = _count(database.connection, _DIFFERENT_TEXTS)
    except sqlite3.DatabaseError as error:
        return str(error)
    return _different(different) or check_full_text(database.path, scratch)


def _different(texts: int) -> str:
    return f"{texts} documents are not in the full-text index as they are" if texts else ""


def _lost_rows(db: sqlite3.Connection) -> dict[str, int]:
    found = {what: _count(db, query) for what, query in _LOST_ROWS.items()}
    return {what: count for what, count in found.items() if count}


def _count(db: sqlite3.Connection, query: str) -> int:
    return int(db.execute(query).fetchone()[0])
