"""The job "salvage": a damaged directory -> an empty one whose log has all that can be believed.

ChromaDB's log is the one door: what stands in it, ChromaDB itself brings into the tables and the
index when it opens the directory (the job "replay").
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import numpy as np

from chromaseal.adapters.chroma.remains import (
    KEPT,
    LOG_COLUMNS,
    SEGMENT_METADATA,
    read_remains,
)
from chromaseal.repair.judged import JudgedCollection, JudgedRecord, Judgement
from chromaseal.repair.judgement import judge
from chromaseal.repair.remains import Remains
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.log import DOCUMENT_KEY
from chromaseal.seal.quiet import DATABASE

_SEGMENTS = (
    ("METADATA", "urn:chroma:segment/metadata/sqlite"),
    ("VECTOR", "urn:chroma:segment/vector/hnsw-local-persisted"),
)
_DATABASE_ID, _TENANT = "00000000-0000-0000-0000-000000000000", "default_tenant"
_UPSERT = 2
_TOPIC = "persistent://default/default/"
_LOG = f"INSERT INTO embeddings_queue (seq_id, {', '.join(LOG_COLUMNS)}) VALUES (?,?,?,?,?,?,?)"  # noqa: S608


def run(request: Plain, progress: Progress) -> Plain:
    """Read what can be read, judge it, and write what is believed.

    Args:
        request: ``directory``, a private copy of the damaged one; ``target``, an empty ChromaDB
            directory; ``list``, a path for the list of what is lost, as lines of JSON;
            ``segments``, ids for new segments, three for each collection.
        progress: called with written and all records.

    Returns:
        ``problem``; ``complete``, whether nothing is lost or doubtful; ``from_log``;
        ``collections`` (each ``name``, ``count``, ``lost``, ``doubtful``, ``sources``);
        ``lines``, how many the list has; ``first``, the first of them.
    """
    remains = read_remains(Path(request["directory"]))
    judgement = judge(remains)
    with Path(request["list"]).open("w") as file:
        lines = _write_list(file, judgement)
    with closing(sqlite3.connect(Path(request["target"]) / DATABASE)) as db, db:
        _Writing(db, remains, judgement, iter(request["segments"]), progress).write()
    return {
        "problem": judgement.problem,
        "complete": judgement.is_complete,
        "from_log": judgement.from_log,
        "collections": [_summary(each) for each in judgement.collections],
        "lines": len(lines),
        "first": lines[:20],
    }


def _summary(judged: JudgedCollection) -> Plain:
    return {
        "name": name_of(judged),
        "count": judged.count,
        "lost": sum(bool(record.lost) for record in judged.records),
        "doubtful": sum(bool(record.doubtful) for record in judged.records),
        "sources": list(judged.sources),
    }


def name_of(judged: JudgedCollection) -> str:
    """Give a collection's name, or one made of its id."""
    return judged.remains.name or f"recovered-{judged.remains.collection_id}"


def is_uuid(text: str) -> bool:
    """Whether a collection's id is one, as ChromaDB writes it."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def collection_cells(judged: JudgedCollection) -> dict[str, Any]:
    """Give the columns of a collection's new row, but for its id."""
    cells = {**judged.remains.cells, "name": name_of(judged), "dimension": judged.dimension}
    if "database" in judged.lost:
        cells["database_id"] = _DATABASE_ID
    if "settings" in judged.lost:
        cells |= {"config_json_str": "{}", "schema_str": None}
    cells.pop("id", None)
    return cells


def _write_list(file: IO[str], judgement: Judgement) -> list[Plain]:
    lines = list(_lines(judgement))
    for line in lines:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return [{key: line[key] for key in line if key not in _CONTENT} for line in lines]


_CONTENT = ("vector", "document", "metadata")


def _lines(judgement: Judgement) -> Iterator[Plain]:
    if judgement.problem:
        yield {"what": "chroma.sqlite3", "lost": {"tables": judgement.problem}}
    for judged in judgement.collections:
        name = name_of(judged)
        if judged.lost:
            yield {"what": "collection", "collection": name, "lost": dict(judged.lost)}
        for record in judged.harmed:
            yield _line(name, record)
    for leftover in judgement.leftovers:
        yield dict(leftover)


def _line(collection: str, record: JudgedRecord) -> Plain:
    line: Plain = {
        "what": "record",
        "collection": collection,
        "id": record.record_id,
        "lost": dict(record.lost),
        "doubtful": dict(record.doubtful),
        "salvaged": not record.lost,
    }
    if record.lost:
        # What is there of a record that cannot be put together.
        vector = record.vector
        line["vector"] = None if vector is None else [float(number) for number in vector]
        line["document"], line["metadata"] = record.document, dict(record.metadata)
    return line


class _Writing:
    """One directory, filled."""

    def __init__(
        self,
        db: sqlite3.Connection,
        remains: Remains,
        judgement: Judgement,
        segment_ids: Iterator[str],
        progress: Progress,
    ) -> None:
        self._db = db
        self._remains = remains
        self._judgement = judgement
        self._segment_ids = segment_ids
        self._progress = progress
        self._all = sum(each.count for each in judgement.collections)
        self._seq_id = 0

    def write(self) -> None:
        """Write what names and holds the records, then the records."""
        for table in KEPT:
            columns, rows = self._remains.cells.get(table, ((), []))
            for cells in rows:
                self._insert(table, dict(zip(columns, cells, strict=True)))
        for _, _, tenant in self._remains.cells.get("databases", ((), []))[1]:
            self._insert("tenants", {"id": tenant})
        for judged in self._judgement.collections:
            self._write_collection(judged)

    def _write_collection(self, judged: JudgedCollection) -> None:
        collection_id = judged.remains.collection_id
        if not is_uuid(collection_id):
            collection_id = next(self._segment_ids)
        self._insert("collections", {**collection_cells(judged), "id": collection_id})
        for scope, kind in _SEGMENTS:
            segment = {"id": next(self._segment_ids), "type": kind, "scope": scope}
            self._insert("segments", {**segment, "collection": collection_id})
            if scope == "VECTOR":
                self._write_old_settings(judged.remains.collection_id, segment["id"])
        topic = _TOPIC + collection_id
        for record in judged.whole:
            self._write_record(topic, record)

    def _write_old_settings(self, collection_id: str, segment_id: str) -> None:
        """Say what the index is like where old releases did, and ChromaDB still looks."""
        table, columns = SEGMENT_METADATA
        own = {
            each.segment_id
            for each in self._remains.segments
            if each.collection_id == collection_id and each.scope == "VECTOR"
        }
        for former, *cells in self._remains.cells.get(table, ((), []))[1]:
            if former in own:
                self._insert(table, dict(zip(columns, (segment_id, *cells), strict=True)))

    def _write_record(self, topic: str, record: JudgedRecord) -> None:
        self._seq_id += 1
        values: dict[str, Any] = dict(record.metadata)
        if record.document is not None:
            values[DOCUMENT_KEY] = record.document
        vector = np.asarray(record.vector, dtype="<f4").tobytes()
        metadata = json.dumps(values) if values else None
        row = (self._seq_id, _UPSERT, topic, record.record_id, vector, "FLOAT32", metadata)
        self._db.execute(_LOG, row)
        if self._seq_id % 1_000 == 0:
            self._progress(self._seq_id, self._all)

    def _insert(self, table: str, cells: Mapping[str, Any]) -> None:
        names = ", ".join(cells)
        marks = ", ".join("?" * len(cells))
        # ChromaDB has made its defaults already.
        statement = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
        self._db.execute(statement, tuple(cells.values()))
