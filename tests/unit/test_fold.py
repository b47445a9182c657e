"""Folding deltas: the later run wins, whatever the order in which they arrived."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from chromaseal.compaction.fold import Patch, Remove, Replace, fold
from chromaseal.delta.model import Changes, Delta, DeltaHeader, upserts_of
from chromaseal.testing.records import record, upserts, vector_of


def delta(second: int, changes: Changes) -> Delta:
    """Make the delta of a run made at a second."""
    header = DeltaHeader(f"r{second}", "notes", f"2026-11-23T12:00:{second:02d}.000000Z", None)
    return Delta(header, upserts_of(changes.upserts), changes.updates, tuple(changes.deletes))


def test_the_later_upsert_wins_in_every_order_of_arrival() -> None:
    """Three runs write one record; the latest one's vector stands in all six orders."""
    runs = [delta(second, upserts(record("a", second))) for second in (1, 2, 3)]
    for arrived in permutations(runs):
        outcome = fold(arrived)["a"]
        assert isinstance(outcome, Replace)
        assert np.array_equal(outcome.record.embedding, vector_of(3))


def test_later_updates_win_key_by_key_in_every_order_of_arrival() -> None:
    """Of two updates the later one has the last word on the keys that it names, and on no other."""
    runs = [
        delta(1, Changes(updates={"a": {"x": 1, "y": 1}})),
        delta(2, Changes(updates={"a": {"y": None}})),
    ]
    for arrived in permutations(runs):
        assert fold(arrived)["a"] == Patch({"x": 1, "y": None})


def test_a_later_delete_wins_in_every_order_of_arrival() -> None:
    """What a later run removed is not brought back by an earlier one, nor by its own update."""
    runs = [
        delta(1, upserts(record("a", 1))),
        delta(2, Changes(deletes=["a"])),
        delta(3, Changes(updates={"a": {"x": 1}})),
    ]
    for arrived in permutations(runs):
        assert fold(arrived)["a"] == Remove()
