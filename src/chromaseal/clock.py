"""Time as it is handed to everything that needs it."""

from __future__ import annotations

import datetime as dt
import time
from typing import Protocol


class Clock(Protocol):
    """Where code gets the time from, so that tests and simulations can give their own."""

    def now(self) -> dt.datetime:
        """Wall-clock time in UTC, for stamps that people and ids show."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only ever grow, for measuring how long something took."""
        ...

    def sleep(self, duration_s: float) -> None:
        """Wait that many seconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> dt.datetime:
        """Wall-clock time in UTC."""
        return dt.datetime.now(dt.UTC)  # noqa: TID251 - the one place that reads it

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        """Wait that many seconds."""
        time.sleep(duration_s)


def to_iso(moment: dt.datetime) -> str:
    """Write a moment as UTC ISO 8601 with microseconds and ``Z``; sorts as text."""
    in_utc = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return f"{in_utc.isoformat(timespec='microseconds')}Z"


def age_s(text: str, now: dt.datetime) -> float | None:
    """Give the seconds since a moment that ``to_iso`` wrote; None if the text is no such moment."""
    try:
        return (now - from_iso(text)).total_seconds()
    except ValueError:
        return None


def read_moment(text: object) -> dt.datetime | None:
    """Read a moment in ISO 8601 as others write it; None for anything else.

    Args:
        text: with any offset; without one it is UTC.

    Returns:
        It, in UTC.
    """
    try:
        moment = dt.datetime.fromisoformat(str(text))
        return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        # The latter for a moment at the end of all years, which UTC does not have.
        return None


def from_iso(text: str) -> dt.datetime:
    """Read what ``to_iso`` wrote.

    Raises:
        ValueError: the text is no such moment.
    """
    moment = dt.datetime.fromisoformat(text)
    # It reads many other forms, too.
    if moment.tzinfo is None or to_iso(moment) != text:
        raise ValueError(f"{text!r} is no moment in UTC to the microsecond")
    return moment
