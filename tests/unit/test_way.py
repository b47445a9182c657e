"""The way back to a version's content: whole versions, runs in order, rollbacks, dead ends."""

from __future__ import annotations

from chromaseal.snapshot.manifest import PastVersion
from chromaseal.snapshot.way import DeadEnd, Way, way_to


def past(*made: str | int | None) -> list[PastVersion]:
    """Make a history: a run's id, the number that a rollback restores, or None for a push."""
    return [
        PastVersion(
            version_id=f"20261124_000000_000000_{number:06d}_{'0' * 32}",
            records=0,
            size_bytes=0,
            stored_bytes=0,
            restores=each if isinstance(each, int) else None,
            runs=((each, ""),) if isinstance(each, str) else (),
        )
        for number, each in enumerate(made, start=1)
    ]


def way(history: list[PastVersion], *whole: int) -> Way | DeadEnd:
    """Look for the way to the newest version; only the named ones are whole."""
    return way_to(history, len(history), lambda number: number in whole)


def test_runs_are_merged_into_the_nearest_whole_version() -> None:
    """In the order in which they were merged."""
    history = past("a", "b", "c", "d")
    assert way(history, 1, 2) == Way(2, ("c", "d"))
    assert way(history, 4) == Way(4, ())


def test_all_runs_make_a_version_of_nothing() -> None:
    """Where no version is whole, and every run left its delta."""
    assert way(past("a", "b")) == Way(0, ("a", "b"))


def test_a_rollback_leads_to_what_it_restores() -> None:
    """Runs that it undid are not merged."""
    assert way(past("a", "b", 1, "c"), 1) == Way(1, ("c",))
    assert way(past("a", "b", 1, "c")) == Way(0, ("a", "c"))


def test_what_was_pushed_is_nowhere_else() -> None:
    """Unless the version itself is whole."""
    assert way(past("a", None, "b"), 1) == DeadEnd(2)
    assert way(past("a", None, "b"), 2) == Way(2, ("b",))
