"""What does not answer yet is asked again, later each time, and not for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chromaseal.errors import ChromasealError, Conflict, Unavailable
from chromaseal.fleet.patience import until_answered
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.simulation.chance import SeededIds, chance_of


class Away:
    """Something that is away for a number of questions, and what is told of it."""

    def __init__(self, questions: int) -> None:
        self.clock = ManualClock()
        self.waits_s: list[float] = []
        self.asked = 0
        self._questions = questions

    def ask(self) -> str:
        """Answer, or do not."""
        self.asked += 1
        if self.asked <= self._questions:
            raise Unavailable("away", kind="store-unavailable")
        return "there"

    def told(self, error: Unavailable, waits_s: float) -> None:
        """Remember a wait."""
        assert error.kind == "store-unavailable"
        self.waits_s.append(waits_s)

    def wait(self, ask: Callable[[], str] | None = None) -> str:
        """Ask until there is an answer."""
        return until_answered(
            ask or self.ask,
            clock=self.clock,
            ids=SeededIds(chance_of("patience")),
            told=self.told,
        )


def test_what_comes_is_waited_for() -> None:
    """Twice as long each time, give or take a half, and half a minute at most; each is told."""
    away = Away(9)
    assert away.wait() == "there"
    assert away.asked == 10
    for wait_s, about_s in zip(away.waits_s, (1, 2, 4, 8, 16, 30, 30, 30, 30), strict=True):
        assert about_s / 2 <= wait_s <= about_s * 3 / 2
    assert away.clock.monotonic_s() == pytest.approx(sum(away.waits_s))


def test_what_does_not_come_is_given_up() -> None:
    """After some minutes, with what it said last."""
    away = Away(1_000)
    with pytest.raises(Unavailable):
        away.wait()
    assert away.asked == 12
    assert 100 < away.clock.monotonic_s() < 330


def test_an_answer_is_an_answer() -> None:
    """Whatever it says; nobody waits for another one."""
    for error in (Conflict("no"), Unavailable("no", kind="store-refuses")):

        def refuse(error: ChromasealError = error) -> str:
            raise error

        away = Away(0)
        with pytest.raises(type(error)):
            away.wait(refuse)
        assert away.waits_s == []
