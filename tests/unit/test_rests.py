"""What fails rests, ever longer; what does not rests as long as it is told to."""

from __future__ import annotations

import pytest

from chromaseal.fleet.rests import Rests
from chromaseal.ids import SystemIds


class Even(SystemIds):
    """Chance that always falls into the middle."""

    def fraction(self) -> float:
        """Give a half."""
        return 0.5


class Extreme(SystemIds):
    """Chance that falls to one end or the other."""

    def __init__(self, fraction: float) -> None:
        self._fraction = fraction

    def fraction(self) -> float:
        """Give always the same."""
        return self._fraction


def test_rests_double_up_to_a_longest() -> None:
    """However often something failed."""
    rests = Rests(Even(), first_s=1, longest_s=60)
    waits = [rests.failed("notes", 0) for _ in range(2000)]
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert waits[-1] == 60


@pytest.mark.parametrize(("fraction", "factor"), [(0.0, 0.5), (0.999, 1.499)])
def test_chance_is_half_of_it(fraction: float, factor: float) -> None:
    """Workers that failed together come back apart."""
    rests = Rests(Extreme(fraction), first_s=10, longest_s=60)
    assert rests.failed("notes", 0) == pytest.approx(10 * factor)


def test_something_rests_until_its_time() -> None:
    """And nothing else does."""
    rests = Rests(Even(), first_s=10)
    assert not rests.rests("notes", 5)
    rests.failed("notes", 5)
    assert rests.rests("notes", 14.9)
    assert not rests.rests("notes", 15)
    assert not rests.rests("words", 6)
    rests.rest("words", 5, 3)
    assert rests.next_s(["notes", "words", "lines"], 6) == 2
    assert rests.next_s(["notes", "words"], 9) == 6
    assert rests.next_s(["notes"], 15) is None


def test_a_success_forgets_failures() -> None:
    """The next failure is a first one."""
    rests = Rests(Even(), first_s=1)
    rests.failed("notes", 0)
    rests.failed("notes", 0)
    rests.succeeded("notes")
    assert not rests.rests("notes", 0)
    assert rests.failed("notes", 0) == 1


def test_a_rest_is_no_failure() -> None:
    """Waiting for a holder does not make later failures count for more, nor less."""
    rests = Rests(Even(), first_s=1)
    rests.failed("notes", 0)
    rests.rest("notes", 0, 100)
    assert rests.rests("notes", 99)
    assert rests.failed("notes", 100) == 2
