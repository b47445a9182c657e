"""How long each step of a piece of work took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chromaseal.clock import Clock
from chromaseal.telemetry.emit import step


class Stopwatch:
    """Measures steps by name; a step that is done again adds up.

    Args:
        clock: where the time comes from.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.durations_s: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what happens in the block, and tell whoever watches of it."""
        start = self._clock.monotonic_s()
        try:
            with step(name):
                yield
        finally:
            taken_s = self._clock.monotonic_s() - start
            self.durations_s[name] = self.durations_s.get(name, 0.0) + taken_s
