"""Requests that are asked again -> lines for whoever waits for a command that keeps no log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from chromaseal.telemetry.observer import Facts, Handle, Severity, Silent

# What a store answers within a second is nobody's concern.
_FROM_ATTEMPT: Final = 4
# Many requests may be asked again side by side, which is one trouble all the same.
_EVERY_S: Final = 5.0


class RetriesNoted(Silent):
    """Hears of requests that are asked again, and says so now and then.

    Args:
        note: tells it.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._next_s = 0.0
        # Pools ask in several threads.
        self._lock = threading.Lock()

    def event(
        self, name: str, severity: Severity, facts: Facts, *, under: Handle | None, at_s: float
    ) -> None:
        """Say that a request is asked again, if it has not been answered for a second."""
        del severity, under
        if name != "request retried" or int(facts["attempts"]) < _FROM_ATTEMPT:
            return
        with self._lock:
            if at_s < self._next_s:
                return
            self._next_s = at_s + _EVERY_S
        self._note(f"{facts['reason']}; asked again in {facts['waited_s']:.1f} s")
