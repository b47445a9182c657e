"""What a collection's row says of its index, in every form that ChromaDB has written it.

Since 1.3 it is in ``schema_str``; 1.0 to 1.2 had it in ``config_json_str``, below
``vector_index``; before that it was in the metadata of the vector segment, under keys that begin
with ``hnsw:``. ChromaDB brings the tables of older releases up to date, but leaves their
collections' settings as they are, and goes by them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, NamedTuple

_DEFAULT_SPACE = "l2"
_DEFAULT_THRESHOLD = 1_000
_DEFAULT_NEIGHBOURS = 16
# By what it is in a schema or a configuration: its key in a segment's metadata.
_OLD_KEYS = {
    "space": "hnsw:space",
    "sync_threshold": "hnsw:sync_threshold",
    "max_neighbors": "hnsw:M",
}
_OLD_SETTINGS = """
    SELECT s.collection, m.key, coalesce(m.str_value, m.int_value) FROM segment_metadata AS m
    JOIN segments AS s ON s.id = m.segment_id AND s.scope = 'VECTOR'
    WHERE m.key IN ('hnsw:space', 'hnsw:sync_threshold', 'hnsw:M')
"""


class IndexSettings(NamedTuple):
    """The settings that files and log depend on.

    Attributes:
        space: ``l2``, ``cosine`` or ``ip``.
        sync_threshold: entries of the log that make ChromaDB flush.
        max_neighbours: links per element.
    """

    space: str = _DEFAULT_SPACE
    sync_threshold: int = _DEFAULT_THRESHOLD
    max_neighbours: int = _DEFAULT_NEIGHBOURS


def index_settings(
    config_json: str | None, schema_json: str | None, old: Mapping[str, Any]
) -> IndexSettings:
    """Find a collection's settings.

    Args:
        config_json: its ``config_json_str``.
        schema_json: its ``schema_str``.
        old: the metadata of its vector segment.

    Raises:
        ValueError: what is there is no JSON, names no index, or a number is none.
        TypeError: the same.
        AttributeError: what is there is no mapping.
    """
    found = _of_schema(schema_json) or _of_configuration(config_json)
    if not found:
        found = {name: old.get(key) for name, key in _OLD_KEYS.items()}
    return IndexSettings(
        str(found.get("space") or _DEFAULT_SPACE),
        int(found.get("sync_threshold") or _DEFAULT_THRESHOLD),
        int(found.get("max_neighbors") or _DEFAULT_NEIGHBOURS),
    )


def _of_schema(schema_json: str | None) -> dict[str, Any]:
    schema = json.loads(schema_json) if schema_json else None
    if schema is None:
        return {}
    lists = _either(schema.get("keys", {}).get("#embedding", {}), "float_list", "#float_list")
    config = _either(lists, "vector_index", "$vector_index").get("config")
    if config is None:
        raise ValueError("a schema without an index of vectors, which ChromaDB does not open")
    space = config.get("space")
    return {**(config.get("hnsw") or {}), "space": space} if space else {}


def _either(members: Mapping[str, Any], name: str, other: str) -> Mapping[str, Any]:
    """Give what has the one name, or the other, by which ChromaDB knows it too."""
    found: Mapping[str, Any] = members.get(name) or members.get(other) or {}
    return found


def _of_configuration(config_json: str | None) -> dict[str, Any]:
    config = json.loads(config_json) if config_json else {}
    index = config.get("vector_index") or config
    return dict(index.get("hnsw") or {})


def old_settings(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """Give what vector segments' metadata says of their indexes, by the collections' ids."""
    found: dict[str, dict[str, Any]] = {}
    for collection_id, key, value in db.execute(_OLD_SETTINGS):
        found.setdefault(collection_id, {})[key] = value
    return found


def settings_columns(db: sqlite3.Connection) -> str:
    """Give the columns ``config_json_str`` and ``schema_str`` of ``collections AS c``, for a query.

    The tables of older releases lack them, which is the same as if nothing were there.
    """
    there = {name for _, name, *_ in db.execute("PRAGMA table_info(collections)")}
    wanted = ("config_json_str", "schema_str")
    return ", ".join(f"c.{name}" if name in there else f"NULL AS {name}" for name in wanted)
