"""A planted mistake -> the invariant that found it, after how many steps."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass

from chromaseal.testing.simulation.campaign import play
from chromaseal.testing.simulation.planting import Bug, planted

# The rarest needs a process to stand still between two looks, in the first seconds of a vault.
STEP_LIMIT = 200_000


@dataclass(frozen=True, slots=True)
class Find:
    """What became of a planted mistake.

    Attributes:
        name: of the mistake.
        invariant: that did not hold; empty if the mistake survived.
        steps: until then, over all seeds.
        seeds: how many were played.
    """

    name: str
    invariant: str
    steps: int
    seeds: int


def hunt(bug: Bug, *, is_planted: bool = True, limit: int = STEP_LIMIT) -> Find:
    """Play seeds, beginning with 0, until a mistake is found.

    Args:
        bug: the mistake.
        is_planted: whether the product has it; False to see that nothing else is found.
        limit: after how many steps to give up.
    """
    with planted(bug) if is_planted else contextlib.nullcontext():
        totals = play(itertools.count(), goes_on=lambda totals: totals.steps < limit)
    failed = totals.failed
    invariant = failed.broken.invariant if failed is not None and failed.broken else ""
    return Find(bug.name, invariant, totals.steps, totals.episodes)
