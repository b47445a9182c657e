"""Runs that wait, room and time -> how many of the oldest come into the next version; pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chromaseal.run.model import Run

# A third of what two cores were measured to merge; the other half of the time is for check-out,
# verification and publishing.
_CHANGES_PER_S: Final = 400
_SHARE_OF_MERGING: Final = 0.5
_SHARE_OF_READING: Final = 0.25
# What is kept of the head, the private copy that is merged into, and the copy that is published.
_COPIES: Final = 3
# A delta is compressed; its records become rows, a full-text index, a log and an index of vectors.
GROWTH: Final = 8
# SQLite and its journal take some whatever there is to merge.
_FLOOR_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Portion:
    """How much of what waits one version takes; one run at least, the oldest first.

    Attributes:
        runs: how many at most; None for all.
        delta_bytes: of their deltas, as they are stored; None for any.
        read_s: after how long no further delta is read; None for never.
    """

    runs: int | None = None
    delta_bytes: int | None = None
    read_s: float | None = None

    def at_most(self, runs: int | None) -> Portion:
        """Give the same for fewer runs; None for no fewer."""
        both = [each for each in (self.runs, runs) if each is not None]
        return replace(self, runs=min(both, default=None))

    def of(self, runs: Sequence[Run], collection: str) -> Sequence[Run]:
        """Give the runs of it.

        Args:
            runs: that wait, the oldest first.
            collection: whose parts are to be merged.
        """
        chosen = runs[: self.runs]
        if self.delta_bytes is None:
            return chosen
        sizes = (run.parts[collection].size_bytes for run in chosen)
        return chosen[: max(1, _fitting(sizes, self.delta_bytes))]


ALL: Final = Portion()


def needed_bytes(directory_bytes: int, delta_bytes: int) -> int:
    """Estimate what a merge takes on the disk at most.

    Args:
        directory_bytes: the newest version's size; 0 for a first version.
        delta_bytes: of all deltas that are merged, as they are stored.
    """
    return _FLOOR_BYTES + _COPIES * directory_bytes + GROWTH * delta_bytes


def portion(
    runs: Sequence[Run], collection: str, *, delta_bytes: int | None, left_s: float | None
) -> Portion:
    """Decide how much of what waits the next version takes.

    Where time is short, each merge that the oldest run was in and that came to no end halves it:
    an estimate that is wrong, or a machine that is slow, is tried again with less.

    Args:
        runs: that wait, the oldest first.
        collection: whose parts are to be merged.
        delta_bytes: what the disk has room for, of deltas as they are stored; None for all.
        left_s: how long it may take; None for as long as it takes.
    """
    parts = [run.parts[collection] for run in runs]
    count = len(parts)
    if delta_bytes is not None:
        count = min(count, _fitting((part.size_bytes for part in parts), delta_bytes))
    read_s = None
    if left_s is not None and parts:
        changes = left_s * _SHARE_OF_MERGING * _CHANGES_PER_S
        count = min(count, _fitting((part.changes for part in parts), changes))
        count >>= parts[0].attempts
        read_s = left_s * _SHARE_OF_READING
    return Portion(None if count >= len(parts) else max(1, count), delta_bytes, read_s)


def _fitting(amounts: Iterable[int], most: float) -> int:
    """Count how many of the first amounts are no more than that together."""
    totals = itertools.accumulate(amounts)
    return sum(1 for _ in itertools.takewhile(lambda total: total <= most, totals))
