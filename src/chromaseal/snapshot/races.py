"""Work that is done again, on top of the winner, where others have moved the pointer first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from chromaseal.clock import Clock
from chromaseal.errors import Conflict
from chromaseal.ids import Ids, spread_s
from chromaseal.telemetry.emit import event

_Won = TypeVar("_Won")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often to try, and how long to wait after a lost race.

    The wait doubles each time, and is no shorter than an attempt takes: attempts that overlap
    cannot all win, so a crowd is fastest when most of it waits.
    """

    attempts: int
    first_wait_s: float
    longest_wait_s: float


def until_won(
    attempt: Callable[[int], _Won],
    collection: str,
    backoff: Backoff,
    *,
    clock: Clock,
    ids: Ids,
    hint: str,
) -> _Won:
    """Try until nobody else is first.

    Args:
        attempt: called with how many races were lost; raises ``lost-race`` for one more.
        collection: whose pointer it is about.
        backoff: how long to go on.
        clock: for the waiting.
        ids: for the chance that keeps those who lost together apart.
        hint: what to do if it never wins.

    Raises:
        Conflict: ``too-many-races``.
    """
    wait_s = backoff.first_wait_s
    for lost_races in range(backoff.attempts):
        start_s = clock.monotonic_s()
        try:
            return attempt(lost_races)
        except Conflict as error:
            if error.kind != "lost-race":
                raise
            # The first attempt also did what need not be done again, such as verifying.
            if lost_races:
                wait_s = max(wait_s, clock.monotonic_s() - start_s)
            wait_s = min(wait_s, backoff.longest_wait_s)
            waited_s = spread_s(wait_s, ids)
            event("race lost", collection=collection, lost_races=lost_races + 1, waited_s=waited_s)
            clock.sleep(waited_s)
            wait_s *= 2
    raise Conflict(
        f"{collection} was published by others {backoff.attempts} times in a row",
        kind="too-many-races",
        hint=hint,
    )
