"""What becomes of work that lost the race for a pointer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from chromaseal.errors import Conflict
from chromaseal.snapshot.races import Backoff, until_won
from chromaseal.testing.clock import ManualClock

_BACKOFF = Backoff(attempts=12, first_wait_s=0.5, longest_wait_s=8.0)


class EvenIds:
    """Ids whose jitter is none: the middle of the range."""

    def unique(self) -> str:
        """Give a name."""
        return "0" * 32

    def run_id(self) -> str:
        """Give a run's id."""
        return "0" * 36

    def fraction(self) -> float:
        """Give the middle."""
        return 0.5


class Rival:
    """An attempt that takes its time and loses for as long as it has durations to take.

    Args:
        clock: what the attempts' time passes on.
        durations_s: of the attempts that lose, in order.
    """

    def __init__(self, clock: ManualClock, durations_s: Sequence[float]) -> None:
        self._clock = clock
        self._durations_s: Iterator[float] = iter(durations_s)
        self.began_s: list[float] = []

    def __call__(self, lost_races: int) -> int:
        """Lose, or give how many races were lost before."""
        self.began_s.append(self._clock.monotonic_s())
        duration_s = next(self._durations_s, None)
        if duration_s is None:
            return lost_races
        self._clock.sleep(duration_s)
        raise Conflict("somebody was first", kind="lost-race")


def waits_s(durations_s: Sequence[float]) -> list[float]:
    """Give how long it was waited after each lost attempt."""
    clock = ManualClock()
    rival = Rival(clock, durations_s)
    lost = until_won(rival, "words", _BACKOFF, clock=clock, ids=EvenIds(), hint="")
    assert lost == len(durations_s)
    tries = zip(pairwise(rival.began_s), durations_s, strict=True)
    return [round(later - before - took_s, 9) for (before, later), took_s in tries]


def test_waits_double_up_to_the_longest() -> None:
    """Attempts that take no time are kept apart by waits of their own."""
    assert waits_s([0, 0, 0, 0, 0, 0]) == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


def test_a_wait_is_no_shorter_than_an_attempt() -> None:
    """The first attempt does not count: it also does what is done once, such as verifying."""
    assert waits_s([30.0, 3.0, 1.0, 1.0]) == [0.5, 3.0, 6.0, 8.0]


def test_another_conflict_is_not_tried_again() -> None:
    """Only a lost race may be won the next time."""
    calls: list[int] = []

    def refused(lost_races: int) -> None:
        calls.append(lost_races)
        raise Conflict("it is open", kind="still-open")

    with pytest.raises(Conflict, match="it is open"):
        until_won(refused, "words", _BACKOFF, clock=ManualClock(), ids=EvenIds(), hint="")
    assert calls == [0]


def test_whoever_never_wins_is_told() -> None:
    """After the last attempt the error names the collection and says what to do."""
    clock = ManualClock()
    with pytest.raises(Conflict, match="words was published by others 12 times") as caught:
        until_won(
            Rival(clock, [0.0] * 12), "words", _BACKOFF, clock=clock, ids=EvenIds(), hint="wait"
        )
    assert (caught.value.kind, caught.value.hint) == ("too-many-races", "wait")
