"""A private copy -> what its SQLite file says of every index: how far behind the log it is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from chromaseal.errors import Damaged
from chromaseal.seal.quiet import DATABASE, HEADER, Backlog

_DEFAULT_THRESHOLD = 1_000
_ELEMENTS = slice(20, 28)
_HEADER_SIZE_BYTES = 100
_COLLECTIONS = """
    SELECT c.id, c.name, c.config_json_str, c.schema_str, v.id, vs.seq_id, ms.seq_id
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
    except (sqlite3.Error, ValueError) as error:
        raise Damaged(
            f"{path} cannot be read: {error}",
            kind="malformed-database",
            hint="name the directory that a chromadb.PersistentClient was opened on",
        ) from error


def _backlogs(directory: Path, db: sqlite3.Connection) -> Iterator[Backlog]:
    for collection_id, name, config, schema, folder, flushed, applied in db.execute(_COLLECTIONS):
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
            threshold=_threshold(config, schema),
            unapplied=unapplied,
            elements=_elements(directory / folder / HEADER),
        )


def _seq_id(value: int | bytes | None) -> int:
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value or 0)


def _threshold(config_json: str | None, schema_json: str | None) -> int:
    """Find the flush threshold: in the schema (1.x) or the configuration (0.6 to 1.0)."""
    schema: dict[str, Any] = json.loads(schema_json) if schema_json else {}
    lists = schema.get("keys", {}).get("#embedding", {}).get("float_list", {})
    vectors = lists.get("vector_index", {}).get("config", {}).get("hnsw") or {}
    config: dict[str, Any] = json.loads(config_json) if config_json else {}
    found = vectors.get("sync_threshold") or (config.get("hnsw") or {}).get("sync_threshold")
    return int(found or _DEFAULT_THRESHOLD)


def _elements(header: Path) -> int | None:
    try:
        with header.open("rb") as file:
            content = file.read(_HEADER_SIZE_BYTES)
    except FileNotFoundError:
        return None
    if len(content) < _HEADER_SIZE_BYTES:
        return None
    return int.from_bytes(content[_ELEMENTS], "little")
