"""The job "read-delta": a ChromaDB directory that somebody made for a delta -> a delta's bytes."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path

from chromaseal.adapters.chroma.database import Database
from chromaseal.adapters.chroma.inspector import inspect
from chromaseal.adapters.parquet.codec import ParquetDeltaCodec
from chromaseal.clock import to_iso
from chromaseal.delta.model import Delta, DeltaHeader, upserts_of
from chromaseal.errors import Damaged
from chromaseal.record import Record
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.anatomy import CollectionAnatomy, DirectoryAnatomy
from chromaseal.seal.checks import check_collection, check_database, records

# Who asks needs to know whether there is one or more.
_RECEIPTS_TOLD = 2
_NEWEST = "SELECT max(created_at) FROM embeddings"


def run(request: Plain, progress: Progress) -> Plain:
    """Read every record of a directory, without ChromaDB, once all checks hold.

    Args:
        request: ``directory``, closed; ``collection``, the one that must be in it, alone with
            records; ``target``, the file to write: a delta in this vault's format, of no run;
            ``merged_into``, another closed directory, or nothing.
        progress: not used; a delta is small.

    Returns:
        ``records``, how many; ``merged``, whether the other directory has all their ids;
        ``space``; ``created_at``, when the newest record was written, ISO 8601; ``receipts``, up
        to two pairs of image and receipt id that records name.

    Raises:
        Damaged: ``bad-delta``; which check fails is said.
    """
    del progress
    directory, name = Path(request["directory"]), request["collection"]
    found = _checked(inspect(directory), name)
    everything = list(records(found))
    if not everything:
        raise _bad(f"{name} has no records")
    header = DeltaHeader("", name, "", None)
    delta = Delta(header, upserts_of(everything), {}, ())
    Path(request["target"]).write_bytes(ParquetDeltaCodec().encode(delta))
    return {
        "records": len(everything),
        "merged": bool(request["merged_into"])
        and _has_all(Path(request["merged_into"]), name, {each.id for each in everything}),
        "space": found.space,
        "created_at": _newest(directory),
        "receipts": _receipts(everything),
    }


def _checked(anatomy: DirectoryAnatomy, name: str) -> CollectionAnatomy:
    findings = [*check_database(anatomy)]
    for each in anatomy.collections:
        findings += check_collection(each)
    for finding in findings:
        if not finding.passed:
            raise _bad(f"{finding.check}: {finding.evidence}")
    named = [each for each in anatomy.collections if each.name == name]
    others = [each.name for each in anatomy.collections if each.name != name and each.rows]
    if len(named) != 1 or others:
        there = ", ".join(each.name for each in anatomy.collections) or "nothing"
        raise _bad(f"it has {there} and not {name} alone")
    return named[0]


def _newest(directory: Path) -> str:
    """Give when ChromaDB wrote the newest row, by SQLite's clock, in whole seconds."""
    try:
        with Database(directory) as database:
            (text,) = database.connection.execute(_NEWEST).fetchone()
        return to_iso(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC))
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise _bad(f"no time of its records: {error}") from error


def _has_all(directory: Path, name: str, record_ids: set[str]) -> bool:
    with Database(directory) as database:
        segments = [
            segment
            for each in database.collections()
            if each.name == name
            for scope, segment in database.segments(each.collection_id)
            if scope == "METADATA"
        ]
        found = [database.logged_rows(segment, record_ids).keys() for segment in segments]
    return any(ids >= record_ids for ids in found)


def _receipts(everything: list[Record]) -> list[list[str]]:
    named = {
        (str(each.metadata["image_id"]), str(each.metadata["receipt_id"]))
        for each in everything
        if each.metadata.get("image_id") and each.metadata.get("receipt_id")
    }
    return [list(pair) for pair in sorted(named)[:_RECEIPTS_TOLD]]


def _bad(why: str) -> Damaged:
    return Damaged(f"a delta is not sound: {why}", kind="bad-delta")
