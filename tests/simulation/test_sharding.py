"""The plan of RFC 0023: a shard is split while writing goes on, and whoever does it dies.

Twenty seeds by default; ``make test-whole`` plays sixty.
"""

from __future__ import annotations

import pytest
from bench.sharding.costs import at_size
from bench.sharding.splitting import LostError, Mistake, Play

from chromaseal.testing.whole import WHOLE

SEEDS = 60 if WHOLE else 20
STEPS = 1_500


@pytest.mark.slow
def test_nothing_is_lost_while_shards_are_split() -> None:
    """Whatever the seed: what a reader had stays, and in the end all is as in a dictionary."""
    plays = [Play(seed) for seed in range(SEEDS)]
    assert sum(play.play(STEPS) for play in plays) > SEEDS * STEPS
    assert min(play.splits for play in plays) > 1
    assert sum(play.deaths for play in plays) > 10 * SEEDS


@pytest.mark.parametrize("mistake", [each for each in Mistake if each is not Mistake.NONE])
def test_another_order_of_steps_loses_something(mistake: Mistake) -> None:
    """Each of the steps is needed: one seed at least finds out that it is left out."""
    assert any(loses(Play(seed, mistake)) for seed in range(SEEDS))


def loses(play: Play) -> bool:
    try:
        play.play(STEPS)
    except LostError:
        return True
    return False


def test_shards_share_the_work() -> None:
    """A hundred million records are some hundred shards, none much larger than the others."""
    cost = at_size(100_000_000)
    assert 100 <= cost.shards <= 400
    assert cost.largest_records < 1.2 * cost.records / cost.shards
