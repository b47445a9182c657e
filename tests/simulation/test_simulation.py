"""Everybody at once, over a store and a ledger that fail: every invariant, after every step.

A failing seed prints how to see it again. What the simulator can find is in ``test_planted``.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from chromaseal.clock import SystemClock
from chromaseal.testing.simulation.campaign import Totals, explain, play
from chromaseal.testing.simulation.episode import simulate
from chromaseal.testing.simulation.mishaps import Mishap
from chromaseal.testing.simulation.setting import setting_of
from chromaseal.testing.simulation.truth import SEEN

STEPS = 1_000_000
PROCESSES = 2
# Until everything has happened that can go wrong, or that only some episodes have.
MOST_STEPS = 80_000


def play_share(first: int) -> Totals:
    """Play every second seed from one on until half of all steps are done."""
    share = STEPS // PROCESSES
    return play(itertools.count(first, PROCESSES), goes_on=lambda totals: totals.steps < share)


def check(totals: Totals) -> None:
    """Nothing broke, and whatever can go wrong went wrong."""
    print(totals)
    assert totals.failed is None, explain(totals.failed)
    assert missing(totals) == set()
    assert min(totals.versions, totals.crashes, totals.runs) > 0


def missing(totals: Totals) -> set[str]:
    """Give what has not happened yet."""
    happened = {*+totals.mishaps, *+totals.seen, *(["race"] if totals.races else [])}
    return {*Mishap, *SEEN, "race"} - happened


def test_a_few_seeds_hold() -> None:
    """Every invariant holds in a few seeds, in which every kind of mishap happens."""
    settings = ((seed, setting_of(seed)) for seed in itertools.count())
    # Most seeds have neither, and these have what those have.
    seeds = (seed for seed, setting in settings if setting.is_cloud or setting.pushed)

    def goes_on(totals: Totals) -> bool:
        return bool(missing(totals)) and totals.steps < MOST_STEPS

    check(play(seeds, goes_on=goes_on, steps=1_000))


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_steps_hold() -> None:
    """Every invariant holds for a million steps, in two processes side by side."""
    clock = SystemClock()
    start_s = clock.monotonic_s()
    totals = Totals()
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for share in pool.map(play_share, range(1_000, 1_000 + PROCESSES)):
            totals.merge(share)
    duration_s = clock.monotonic_s() - start_s
    print(f"{duration_s:.0f} s, {totals.steps / duration_s:.0f} steps/s")
    check(totals)
    assert totals.steps >= STEPS


def test_a_seed_does_the_same_again() -> None:
    """Two episodes of one seed are equal, step by step."""
    first, second = simulate(7, 1_500), simulate(7, 1_500)
    assert first == second
    assert first.digest != simulate(8, 1_500).digest


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_does_the_same_in_another_process(hash_seed: str) -> None:
    """What Python takes from its own chance, such as the order of sets, decides nothing."""
    code = (
        "from chromaseal.testing.simulation.episode import simulate; print(simulate(7, 800).digest)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(told.stdout) == simulate(7, 800).digest


def test_without_mishaps_everything_ends_well() -> None:
    """Where nothing fails, nothing is said to have failed."""
    report = simulate(3, 1_500, kinds=())
    assert report.broken is None
    assert not report.mishaps
    assert report.versions
