"""What a collection must hold, worked out with a plain dictionary: the slow, obvious way.

Runs in the order of their age, each on top of what the ones before left. Shares no code with
``compaction.fold``, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chromaseal.delta.model import Changes, Delta
from chromaseal.record import MetadataValue, Record

Rows = dict[str, Record]


def expected_rows(deltas: Iterable[Delta], before: Rows | None = None) -> Rows:
    """Give the records that a collection has after all of these, whatever order they come in."""
    rows = dict(before or {})
    for delta in sorted(deltas, key=lambda d: (d.header.created_at, d.header.run_id)):
        upserts = [delta.upserts.record(index) for index in range(len(delta.upserts))]
        change(rows, Changes(upserts, delta.updates, delta.deletes))
    return rows


def change(rows: Rows, changes: Changes) -> None:
    """Apply one run to a dictionary of records."""
    for record in changes.upserts:
        rows[record.id] = record
    for record_id, patch in changes.updates.items():
        old = rows.get(record_id)
        if old is None:
            continue
        metadata: dict[str, MetadataValue] = dict(old.metadata)
        for key, value in patch.items():
            if value is None:
                metadata.pop(key, None)
            else:
                metadata[key] = value
        rows[record_id] = Record(old.id, old.embedding, old.document, metadata)
    for record_id in changes.deletes:
        rows.pop(record_id, None)


def assert_same_rows(found: Iterable[Record], expected: Rows) -> None:
    """Compare records id by id: document, metadata with its types, vector bit by bit."""
    records = list(found)
    by_id = {record.id: record for record in records}
    assert len(by_id) == len(records), "an id occurs twice"
    assert sorted(by_id) == sorted(expected)
    for record_id, record in by_id.items():
        wanted = expected[record_id]
        assert record.document == wanted.document, record_id
        assert _typed(record) == _typed(wanted), record_id
        assert np.array_equal(record.embedding, wanted.embedding), record_id


def _typed(record: Record) -> dict[str, tuple[str, MetadataValue]]:
    # 1, 1.0 and True are equal to Python and different to a collection.
    return {key: (_kind(value), value) for key, value in record.metadata.items()}


def _kind(value: MetadataValue) -> str:
    return f"list of {type(value[0]).__name__}" if isinstance(value, list) else type(value).__name__
