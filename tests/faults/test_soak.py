"""The fleet as processes on real servers, for a minute: ``make soak`` plays ten."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.soak.figures import table
from bench.soak.plan import Plan
from bench.soak.soaking import soak

SECONDS = 60.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_or_applied_twice_while_everybody_is_hit(tmp_path: Path) -> None:
    """Killed, stopped for longer than a lease, restarted: each at least once, and all is right."""
    plan = Plan(SECONDS, seed=5, blow_every_s=3.0)
    soaked = soak(plan, tmp_path, print)
    print(f"seed {plan.seed}\n{table(soaked.figures)}")
    assert soaked.problems == ()
    assert min(soaked.figures.fired.values()) > 0
    assert soaked.figures.at_work > 0
    assert soaked.figures.unanswered > 0
