"""How much of what waits has room on this machine's disk, asked before anything is begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chromaseal.compaction.portion import GROWTH, Portion, needed_bytes, portion
from chromaseal.parts import Parts
from chromaseal.run.model import Run
from chromaseal.snapshot.checkout import disk_full
from chromaseal.snapshot.history import head

LeftS = Callable[[], float]


def portions(
    parts: Parts, collections: Sequence[str], left_s: LeftS | None = None
) -> Mapping[str, Portion]:
    """Decide how much of what waits is taken: all of it where there is room and time for it.

    Args:
        parts: what the vault consists of.
        collections: what is to be compacted, at once.
        left_s: tells how long it may take; None for as long as it takes.

    Raises:
        Unavailable: ``disk-full``, there is no room for the oldest run; nothing was begun.
    """
    found = [_looked_at(parts, name) for name in collections]
    waiting = [each for each in found if each.runs]
    least = sum(needed_bytes(each.directory_bytes, each.oldest_bytes) for each in waiting)
    free = parts.checkouts.free_bytes() if waiting else 0
    if free < least:
        raise disk_full(
            f"compacting {', '.join(collections)} may take {_mb(least)} in the cache, whose disk "
            f"has {_mb(free)} left; nothing was begun, the runs wait on"
        )
    everything = sum(needed_bytes(each.directory_bytes, each.delta_bytes) for each in waiting)
    # Beyond the oldest run of each, what there is room for is shared out evenly.
    more = (free - least) // GROWTH // max(1, len(waiting))
    time_s = left_s() if left_s is not None else None
    return {
        each.name: portion(
            each.runs,
            each.name,
            delta_bytes=None if everything <= free else each.oldest_bytes + more,
            left_s=time_s,
        )
        for each in waiting
    }


@dataclass(frozen=True, slots=True)
class _LookedAt:
    """What waits for a collection, and what it is merged into."""

    name: str
    runs: Sequence[Run]
    directory_bytes: int

    @property
    def oldest_bytes(self) -> int:
        return self.runs[0].parts[self.name].size_bytes

    @property
    def delta_bytes(self) -> int:
        return sum(run.parts[self.name].size_bytes for run in self.runs)


def _looked_at(parts: Parts, name: str) -> _LookedAt:
    runs = parts.ledger.waiting(name)
    version = head(parts.store, name).version if runs else None
    return _LookedAt(name, runs, version.manifest.size_bytes if version else 0)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
