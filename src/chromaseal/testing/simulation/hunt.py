"""A planted mistake -> the invariant that found it, after how many steps."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass

from chromaseal.testing.simulation.campaign import play
from chromaseal.testing.simulation.planting import Bug, planted

# The rarest needs a process to stand still between two looks, in the first seconds of a vault.
STEP_LIMIT = 600_000


@dataclass(frozen=True, slots=True)
class Find:
    """What became of a planted mistake.

    Attributes:
        name: of the mistake.
        invariant: that did not hold; empty if the mistake survived.
        steps: until then, over all seeds.
        seed: that found it; None if the mistake survived.
    """

    name: str
    invariant: str
    steps: int
    seed: int | None


def hunt(
    bug: Bug, *, is_planted: bool = True, limit: int = STEP_LIMIT, first: int | None = None
) -> Find:
    """Play seeds, beginning with 0, until a mistake is found.

    Args:
        bug: the mistake.
        is_planted: whether the product has it; False to see that nothing else is found.
        limit: after how many steps to give up.
        first: a seed to play before all others, since it has found the mistake before.
    """
    likely = [] if first is None else [first]
    with planted(bug) if is_planted else contextlib.nullcontext():
        seeds = itertools.chain(likely, itertools.count())
        totals = play(seeds, goes_on=lambda totals: totals.steps < limit)
    failed = totals.failed
    if failed is None or failed.broken is None:
        return Find(bug.name, "", totals.steps, None)
    return Find(bug.name, failed.broken.invariant, totals.steps, failed.seed)
