"""A clock that stands still until a test moves it."""

from __future__ import annotations

import datetime as dt

START = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)


class ManualClock:
    """Time in a test's hands; sleeping takes no time at all, but the clock goes on.

    Args:
        now: where it starts.
    """

    def __init__(self, now: dt.datetime = START) -> None:
        self._now = now
        self._elapsed_s = 0.0

    def now(self) -> dt.datetime:
        """Give the time that was set last."""
        return self._now

    def monotonic_s(self) -> float:
        """Give the seconds that were slept; setting the time, also back, changes nothing."""
        return self._elapsed_s

    def sleep(self, duration_s: float) -> None:
        """Move on by that many seconds, at once."""
        self._elapsed_s += duration_s
        self._now += dt.timedelta(seconds=duration_s)

    def set(self, now: dt.datetime) -> None:
        """Set the time, forward or back."""
        self._now = now
