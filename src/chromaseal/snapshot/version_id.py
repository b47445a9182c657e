"""Version ids: unique, sortable by time, and ending in their manifest's digest.

``20261123_130742_123456_000042_<32 hex>``: UTC to the microsecond, the version's number, the
first 16 bytes of the manifest's BLAKE3 digest. An id sorts after its parent's even when clocks
disagree, because its time is at least a microsecond later than the parent's.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from dataclasses import dataclass

from chromaseal.errors import Damaged

_TIME_FORMAT = "%Y%m%d_%H%M%S_%f"
_PATTERN = re.compile(r"(\d{8}_\d{6}_\d{6})_(\d{6,})_([0-9a-f]{32})")
_EXISTING_DIGITS = 8
_TICK = dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class VersionId:
    """The parts of a version id."""

    created_at: dt.datetime
    number: int
    digest_prefix: str

    def __str__(self) -> str:
        """Write the id."""
        return f"{self._stamp}_{self.number:06d}_{self.digest_prefix}"

    @property
    def existing_name(self) -> str:
        """Write it as programs that know nothing of chromaseal sort and parse their own ids.

        ``YYYYMMDD_HHMMSS_ffffff_<8 hex digits>``, as the existing pipeline's newest writers make
        them: always the same, in the same order.
        """
        return f"{self._stamp}_{self.digest_prefix[:_EXISTING_DIGITS]}"

    @property
    def _stamp(self) -> str:
        return self.created_at.astimezone(dt.UTC).strftime(_TIME_FORMAT)


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> VersionId:
    """Read a version id.

    Raises:
        Damaged: ``bad-version-id``.
    """
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise Damaged(f"{text[:80]!r} is no version id", kind="bad-version-id")
    try:
        moment = dt.datetime.strptime(found[1], _TIME_FORMAT).replace(tzinfo=dt.UTC)
    except ValueError:
        raise Damaged(f"{text!r} is no version id", kind="bad-version-id") from None
    return VersionId(moment, int(found[2]), found[3])


def stamp_after(now: dt.datetime, parent: str | None) -> dt.datetime:
    """Give the time of a new version: now, or just after its parent if a clock is behind."""
    if parent is None:
        return now
    return max(now, parse(parent).created_at + _TICK)
