"""Something that does not answer yet -> asked again, later each time, for a bounded time.

For programs that stay: the machines of a fleet start in any order, and their store may be last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from chromaseal.clock import Clock
from chromaseal.errors import Unavailable
from chromaseal.ids import Ids, wait_after_s

_ATTEMPTS = 12
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0
_Given = TypeVar("_Given")


def until_answered(
    ask: Callable[[], _Given],
    *,
    clock: Clock,
    ids: Ids,
    told: Callable[[Unavailable, float], None],
) -> _Given:
    """Ask until there is an answer, whatever it is.

    Args:
        ask: raises ``Unavailable`` where there was none; who is refused is refused again.
        clock: for the waiting.
        ids: for the chance that keeps a fleet apart.
        told: called before each wait with why, and with the seconds that it takes.

    Raises:
        Unavailable: there was none in the end.
    """
    for failures in range(1, _ATTEMPTS):
        try:
            return ask()
        except Unavailable as error:
            if error.kind != "store-unavailable":
                raise
            waits_s = wait_after_s(failures, ids, first_s=_FIRST_WAIT_S, longest_s=_LONGEST_WAIT_S)
            told(error, waits_s)
            clock.sleep(waits_s)
    return ask()
