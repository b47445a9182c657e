"""Hearing of runs where nobody calls out: how often they were announced, looked at now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable

from chromaseal.clock import Clock
from chromaseal.ids import Ids, spread_s

# How often it looks whether it is to stop.
_STOP_S = 0.2


class PollingListener:
    """Compares how often runs were announced with how often it was at the last look.

    Args:
        announced: counts the announcements, all that were committed before it was asked.
        clock: for waiting.
        ids: chance, so that not all look at once.
        poll_s: how long it sleeps between two looks, give or take a half.
        settle_s: how long after an announcement was seen all is there that came with it.
    """

    def __init__(
        self,
        announced: Callable[[], int],
        *,
        clock: Clock,
        ids: Ids,
        poll_s: float,
        settle_s: float = 0.0,
    ) -> None:
        self._announced = announced
        self._clock = clock
        self._ids = ids
        self._poll_s = poll_s
        self._settle_s = settle_s
        self._number = announced()

    def wait(self, timeout_s: float, *, stop: threading.Event | None = None) -> bool:
        """Look until the count has moved, the time is over, or somebody stops it."""
        end_s = self._clock.monotonic_s() + timeout_s
        while True:
            before, self._number = self._number, self._announced()
            if self._number != before:
                if self._settle_s:
                    self._clock.sleep(self._settle_s)
                return True
            left_s = end_s - self._clock.monotonic_s()
            if left_s <= 0 or (stop is not None and stop.is_set()):
                return False
            self._sleep(min(left_s, spread_s(self._poll_s, self._ids)), stop)

    def _sleep(self, duration_s: float, stop: threading.Event | None) -> None:
        end_s = self._clock.monotonic_s() + duration_s
        while (left_s := end_s - self._clock.monotonic_s()) > 0:
            if stop is not None and stop.is_set():
                return
            self._clock.sleep(min(left_s, _STOP_S))
