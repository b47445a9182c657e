"""A process that ends at one operation on any of its stores, and does nothing more from then on.

Unlike an exception that is only raised once, what the dying process does while it is unwound
(leases given back, runs given back, files removed from a store) reaches nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from chromaseal.testing.faults import SimulatedCrash


class HardStop:
    """Counts what is asked of whatever is behind its doors, and ends the process at one of it.

    Attributes:
        operations: how many there were, over all doors and threads.
        is_dead: whether the process has ended, and not begun again.
    """

    def __init__(self) -> None:
        self.operations = 0
        self.is_dead = False
        self._at = 0
        self._landed = False
        self._lock = threading.Lock()

    def plan(self, at: int, *, landed: bool) -> None:
        """Choose where it ends.

        Args:
            at: the operation, counted from 1 over all there ever were.
            landed: whether that one is done still, and only its answer is never heard.
        """
        self._at, self._landed = at, landed

    def begin_again(self) -> None:
        """Let another process take its place."""
        self.is_dead = False

    def door(self, inner: Any) -> Any:  # noqa: ANN401 - store, ledger, leases or client
        """Give what stands in front of something: asked the same, it may end the process."""
        return _Door(self, inner)

    def ask(self, act: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the inner one answers
        """Do one operation, or end.

        Raises:
            SimulatedCrash: the process has ended.
        """
        with self._lock:
            self.operations += 0 if self.is_dead else 1
            strikes = not self.is_dead and self.operations == self._at
            was_dead, self.is_dead = self.is_dead, self.is_dead or strikes
        if was_dead or (strikes and not self._landed):
            raise SimulatedCrash(f"at operation {self.operations}")
        answer = act()
        if strikes:
            raise SimulatedCrash(f"after operation {self.operations}")
        return answer


class _Door:
    def __init__(self, stop: HardStop, inner: Any) -> None:  # noqa: ANN401 - see ``HardStop.door``
        self._stop = stop
        self._inner = inner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever is behind it has
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        return lambda *given, **named: self._stop.ask(lambda: found(*given, **named))
