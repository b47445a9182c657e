"""Entries of the log that the tables do not have yet: which they are, and what becomes of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from chromaseal.repair.remains import EntryRemains, RowRemains
from chromaseal.repair.unapplied import apply, unapplied

ADD, UPDATE, UPSERT, DELETE = range(4)


def entry(
    seq_id: int,
    operation: int,
    record_id: str,
    values: dict[str, Any] | None = None,
    *,
    is_sound: bool = True,
) -> EntryRemains:
    """Give an entry of the log."""
    vector = np.ones(2, np.float32)
    return EntryRemains(seq_id, operation, "t/c", record_id, vector, is_sound, values or {})


def row(seq_id: int | None = 4, **metadata: Any) -> RowRemains:  # noqa: ANN401 - any metadata
    """Give the row of a."""
    return RowRemains(1, "m", "a", seq_id, "text", dict(metadata))


def test_entries_behind_the_place_are_unapplied() -> None:
    """What the tables have applied is known by their place in the log."""
    log = [entry(4, UPSERT, "a"), entry(5, UPSERT, "b")]
    assert unapplied(log, [row()], 4) == log[1:]
    assert unapplied(log, [row()], 5) == []
    assert unapplied(log, [], None) == log


def test_where_the_place_is_in_doubt_nothing_is_applied() -> None:
    """A lost or contradicted place, a damaged entry, a value of a form of its own: none counts."""
    log = [entry(4, UPSERT, "a"), entry(5, UPSERT, "b")]
    assert unapplied(log, [row()], None) == []
    assert unapplied(log, [row(5)], 4) == []
    assert unapplied(log, [row(None)], 4) == []
    assert unapplied([*log, entry(6, UPSERT, "b", is_sound=False)], [row()], 4) == []
    sparse = entry(6, UPSERT, "b", {"s": {"indices": [1], "values": [0.5]}})
    assert unapplied([*log, sparse], [row()], 4) == []


def test_entries_are_applied_as_chromadb_does() -> None:
    """Metadata is merged, None takes away, and what does not count changes nothing."""
    rows = [row(n=1, gone="soon")]
    (changed,) = apply([entry(5, UPDATE, "a", {"gone": None, "x": 2.5})], rows, "m")
    assert (changed.seq_id, changed.document, changed.metadata) == (5, "text", {"n": 1, "x": 2.5})
    assert rows[0].metadata == {"n": 1, "gone": "soon"}, "what was read stays as it is"
    assert apply([entry(5, ADD, "a", {"n": 9}), entry(6, UPDATE, "b")], rows, "m") == rows
    assert apply([entry(5, DELETE, "a")], rows, "m") == []
    _, new = apply([entry(5, ADD, "b", {"chroma:document": "new", "n": 2})], rows, "m")
    assert (new.record_id, new.segment_id, new.document, new.metadata) == (
        "b",
        "m",
        "new",
        {"n": 2},
    )
    (text,) = apply([entry(5, UPSERT, "a", {"chroma:document": None})], rows, "m")
    assert text.document is None


def test_what_an_entry_gives_is_not_lost_any_more() -> None:
    """A value that cannot be read does not matter if a later entry gives another one."""
    damaged = RowRemains(1, "m", "a", 4, None, {}, {"n": "its row cannot be read", "x": "the same"})
    (changed,) = apply([entry(5, UPSERT, "a", {"n": 3})], [damaged], "m")
    assert (changed.metadata, changed.lost) == ({"n": 3}, {"x": "the same"})
