"""Something that does not answer yet -> asked again, later each time, for a bounded time.

For programs that stay: the machines of a fleet start in any order, and their store may be last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from chromaseal.clock import Clock
from chromaseal.errors import Unavailable
from chromaseal.ids import Ids

_Given = TypeVar("_Given")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to ask, and how long to wait in between.

    The wait doubles each time, up to the longest; each is longer or shorter by up to a half, so
    that a fleet which was started at once does not ask at once.

    Attributes:
        attempts: how often at most.
        first_wait_s: after the first.
        longest_wait_s: what a wait does not exceed, but for chance.
    """

    attempts: int = 12
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0


def until_answered(
    ask: Callable[[], _Given],
    patience: Patience,
    *,
    clock: Clock,
    ids: Ids,
    told: Callable[[Unavailable, float], None],
) -> _Given:
    """Ask until there is an answer, whatever it is.

    Args:
        ask: raises ``Unavailable`` where there was none; who is refused is refused again.
        patience: how long to go on.
        clock: for the waiting.
        ids: for the chance that keeps a fleet apart.
        told: called before each wait with why, and with the seconds that it takes.

    Raises:
        Unavailable: there was none in the end.
    """
    wait_s = patience.first_wait_s
    for _ in range(patience.attempts - 1):
        try:
            return ask()
        except Unavailable as error:
            if error.kind != "store-unavailable":
                raise
            waits_s = wait_s * (0.5 + ids.fraction())
            told(error, waits_s)
            clock.sleep(waits_s)
            wait_s = min(2 * wait_s, patience.longest_wait_s)
    return ask()
