"""Rows of the tables, and entries of the log that they do not have yet -> the rows with both.

ChromaDB logs a change in one transaction and brings it into the tables in another one. A writer
that was killed between them leaves entries that are only in the log; ChromaDB applies them when
the directory is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from chromaseal.repair.remains import EntryRemains, RowRemains
from chromaseal.seal.anatomy import LogOperation
from chromaseal.seal.log import DOCUMENT_KEY


def unapplied(
    log: Sequence[EntryRemains], rows: Sequence[RowRemains], place: int | None
) -> list[EntryRemains]:
    """Give the entries that the tables do not have yet; none where that is not certain.

    Args:
        log: the collection's entries, oldest first, of a database of which all tables are whole.
        rows: the collection's rows.
        place: up to where the tables have applied the log; None where nothing says it.
    """
    changed = [row.seq_id for row in rows]
    if place is None and rows:
        return []
    known = place or 0
    if any(seq_id is None or seq_id > known for seq_id in changed):
        return []
    later = [entry for entry in log if entry.seq_id > known]
    # A sparse vector has a form of its own in the tables.
    plain = all(not isinstance(v, dict) for entry in later for v in entry.values.values())
    return later if plain and all(entry.is_sound for entry in later) else []


def apply(
    entries: Iterable[EntryRemains], rows: Sequence[RowRemains], segment_id: str
) -> list[RowRemains]:
    """Apply entries to rows as ChromaDB does.

    Args:
        entries: that the rows do not have, oldest first.
        rows: the collection's rows.
        segment_id: whose they are.
    """
    found = {row.record_id: row for row in rows}
    row_id = max((row.row_id for row in rows), default=0)
    for entry in entries:
        operation, row = LogOperation(entry.operation), found.get(entry.record_id)
        if operation is LogOperation.DELETE:
            found.pop(entry.record_id, None)
        elif row is not None and operation is not LogOperation.ADD:
            found[entry.record_id] = _changed(row, entry)
        elif row is None and operation is not LogOperation.UPDATE:
            row_id += 1
            new = RowRemains(row_id, segment_id, entry.record_id, entry.seq_id)
            found[entry.record_id] = _changed(new, entry)
    return list(found.values())


def _changed(row: RowRemains, entry: EntryRemains) -> RowRemains:
    """Merge what an entry gives into a row; None takes away."""
    lost = {key: why for key, why in row.lost.items() if key not in entry.values}
    document = entry.values.get(DOCUMENT_KEY, row.document)
    merged = {**row.metadata, **entry.values}
    metadata = {
        key: value for key, value in merged.items() if value is not None and key != DOCUMENT_KEY
    }
    return replace(row, seq_id=entry.seq_id, document=document, metadata=metadata, lost=lost)
