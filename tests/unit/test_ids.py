"""Waits double, and nobody's is as long as another's."""

from __future__ import annotations

import pytest

from chromaseal.ids import SystemIds, spread_s, wait_after_s
from chromaseal.testing.simulation.chance import SeededIds, chance_of


def test_a_wait_is_longer_or_shorter_by_up_to_a_half() -> None:
    """And as likely the one as the other."""
    waits_s = [spread_s(10.0, SystemIds()) for _ in range(2000)]
    assert all(5 <= each < 15 for each in waits_s)
    assert 9 < sum(waits_s) / len(waits_s) < 11


@pytest.mark.parametrize(
    ("failures", "about_s"), [(1, 2.0), (2, 4.0), (3, 8.0), (4, 10.0), (10_000, 10.0)]
)
def test_a_wait_doubles_with_each_failure(failures: int, about_s: float) -> None:
    """Up to the longest, however many there were."""
    ids = SeededIds(chance_of("waits"))
    wait_s = wait_after_s(failures, ids, first_s=2.0, longest_s=10.0)
    assert about_s / 2 <= wait_s < about_s * 3 / 2
    assert wait_after_s(10_000, ids, first_s=2.0) > 1e9
