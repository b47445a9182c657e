"""How much of what waits one version takes."""

from __future__ import annotations

import itertools

from chromaseal.compaction.portion import ALL, Portion, portion
from chromaseal.run.model import Run, RunPart, RunState


def waiting(count: int, *, size_bytes: int = 10, changes: int = 1, attempts: int = 0) -> list[Run]:
    """Give runs, the oldest first."""
    part = RunPart(RunState.PENDING, "key", size_bytes, changes, attempts=attempts)
    return [Run(f"run-{number:03d}", "", {"notes": part}, {}) for number in range(count)]


def test_everything_is_taken_where_nothing_is_short() -> None:
    """Also where there is just enough room and time."""
    runs = waiting(4)
    assert portion(runs, "notes", delta_bytes=None, left_s=None) == ALL
    assert portion(runs, "notes", delta_bytes=40, left_s=None).of(runs, "notes") == runs
    assert portion(runs, "notes", delta_bytes=None, left_s=900).of(runs, "notes") == runs


def test_the_oldest_that_have_room_are_taken() -> None:
    """One at least: whether that has room is asked before."""
    runs = waiting(4)
    for delta_bytes, taken in ((39, 3), (20, 2), (19, 1), (0, 1)):
        chosen = portion(runs, "notes", delta_bytes=delta_bytes, left_s=None)
        assert list(chosen.of(runs, "notes")) == runs[:taken]
        # What came meanwhile may be older, and larger.
        later = [*waiting(1, size_bytes=1000), *runs]
        assert list(chosen.of(later, "notes")) == later[:1]


def test_little_time_is_for_few_runs() -> None:
    """And for reading only a part of it."""
    runs = waiting(1000, changes=100)
    counts = [
        len(chosen.of(runs, "notes"))
        for left_s in (0.0, 1.0, 10.0, 100.0)
        if (chosen := portion(runs, "notes", delta_bytes=None, left_s=left_s)).read_s is not None
    ]
    assert counts == sorted(set(counts))
    assert counts[0] == 1
    assert counts[-1] < 1000


def test_what_was_begun_in_vain_is_begun_with_half_as_much() -> None:
    """Down to one run; without an end that is known, an interruption was somebody's wish."""
    counts = [
        len(portion(runs, "notes", delta_bytes=None, left_s=900.0).of(runs, "notes"))
        for attempts in range(7)
        if (runs := waiting(40, attempts=attempts))
    ]
    assert counts == [40, 20, 10, 5, 2, 1, 1]
    runs = waiting(40, attempts=3)
    assert portion(runs, "notes", delta_bytes=None, left_s=None) == ALL


def test_a_part_of_a_portion_is_no_larger() -> None:
    """Halves of what failed are halves of what was taken."""
    for runs, most in itertools.product((None, 3, 5), (None, 3, 5)):
        both = [each for each in (runs, most) if each is not None]
        assert Portion(runs, 7).at_most(most) == Portion(min(both, default=None), 7)
