"""What a collection must hold, worked out with a plain dictionary: the slow, obvious way.

Runs in the order of their age, each on top of what the ones before left. Shares no code with
``compaction.fold``, so that the two can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from chromaseal.delta.model import Changes, Delta
from chromaseal.record import MetadataValue, Record, Scalar

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
    """Compare records id by id: document, metadata with its types, vector number by number."""
    records = list(found)
    by_id = {record.id: record for record in records}
    assert len(by_id) == len(records), "an id occurs twice"
    assert sorted(by_id) == sorted(expected)
    for record_id, record in by_id.items():
        wanted = expected[record_id]
        assert record.document == wanted.document, record_id
        _assert_same_metadata(record, wanted)
        assert np.array_equal(record.embedding, wanted.embedding), record_id


def _assert_same_metadata(found: Record, wanted: Record) -> None:
    assert sorted(found.metadata) == sorted(wanted.metadata), wanted.id
    for key, value in wanted.metadata.items():
        pair = (found.metadata[key], value)
        assert _kind(pair[0]) == _kind(pair[1]), (wanted.id, key)
        same = all(map(_is_same, _items(pair[0]), _items(pair[1])))
        assert same, (wanted.id, key, pair)
        assert len(_items(pair[0])) == len(_items(pair[1])), (wanted.id, key)


def _kind(value: MetadataValue) -> str:
    # 1, 1.0 and True are equal to Python and different to a collection.
    return f"list of {type(value[0]).__name__}" if isinstance(value, list) else type(value).__name__


def _items(value: MetadataValue) -> Sequence[Scalar]:
    return value if isinstance(value, list) else [value]


def _is_same(found: Scalar, wanted: Scalar) -> bool:
    # ChromaDB's JSON reader may miss the last bit of a float, above all of very large ones.
    if isinstance(found, float) and isinstance(wanted, float):
        return math.isclose(found, wanted, rel_tol=1e-15, abs_tol=5e-324)
    return found == wanted
