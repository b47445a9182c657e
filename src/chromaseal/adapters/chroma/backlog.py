"""A private copy -> what its SQLite file says of every index: how far behind the log it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from chromaseal.adapters.chroma.index_settings import (
    index_settings,
    old_settings,
    settings_columns,
)
from chromaseal.errors import Damaged
from chromaseal.seal.quiet import DATABASE, HEADER, Backlog

_ELEMENTS = slice(20, 28)
_HEADER_SIZE_BYTES = 100
_COLLECTIONS = """
    SELECT c.id, c.name, {settings}, v.id, vs.seq_id, ms.seq_id
    FROM collections AS c
    JOIN segments AS v ON v.collection = c.id AND v.scope = 'VECTOR'
    LEFT JOIN segments AS m ON m.collection = c.id AND m.scope = 'METADATA'
    LEFT JOIN max_seq_id AS vs ON vs.segment_id = v.id
    LEFT JOIN max_seq_id AS ms ON ms.segment_id = m.id
"""
# Deletes before the first record leave no mark of having been applied.
_LOG = """
    SELECT count(*) FILTER (WHERE seq_id > :flushed),
           count(*) FILTER (WHERE seq_id > :applied AND (:applied > 0 OR operation <> 3))
    FROM embeddings_queue WHERE topic LIKE '%/' || :collection
"""


def read_backlogs(directory: Path) -> list[Backlog]:
    """Read every collection's backlog.

    Args:
        directory: a copy that nobody else uses and whose ``chroma.sqlite3`` is whole.

    Raises:
        Damaged: ``malformed-database``.
    """
    path = directory / DATABASE
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            return list(_backlogs(directory, db))
    except (sqlite3.Error, ValueError, TypeError, AttributeError) as error:
        raise Damaged(
            f"{path} cannot be read: {error}",
            kind="malformed-database",
            hint="name the directory that a chromadb.PersistentClient was opened on",
        ) from error


def _backlogs(directory: Path, db: sqlite3.Connection) -> Iterator[Backlog]:
    query = _COLLECTIONS.format(settings=settings_columns(db))
    old = old_settings(db)
    for collection_id, name, config, schema, folder, flushed, applied in db.execute(query):
        places = {
            "flushed": _seq_id(flushed),
            "applied": _seq_id(applied),
            "collection": collection_id,
        }
        pending, unapplied = db.execute(_LOG, places).fetchone()
        yield Backlog(
            collection=name,
            folder=folder,
            pending=pending,
            threshold=index_settings(config, schema, old.get(collection_id, {})).sync_threshold,
            unapplied=unapplied,
            elements=_elements(directory / folder / HEADER),
        )


def _seq_id(value: int | bytes | None) -> int:
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value or 0)


def _elements(header: Path) -> int | None:
    try:
        with header.open("rb") as file:
            content = file.read(_HEADER_SIZE_BYTES)
    except FileNotFoundError:
        return None
    if len(content) < _HEADER_SIZE_BYTES:
        return None
    return int.from_bytes(content[_ELEMENTS], "little")
