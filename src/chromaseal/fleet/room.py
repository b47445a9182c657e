"""How much of what waits has room on this machine's disk, asked before anything is begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chromaseal.compaction.portion import ALL, GROWTH, Portion, needed_bytes, portion
from chromaseal.parts import Parts
from chromaseal.run.model import Run
from chromaseal.snapshot.checkout import disk_full
from chromaseal.snapshot.history import head

LeftS = Callable[[], float]


@contextmanager
def room_for(
    parts: Parts,
    collections: Sequence[str],
    left_s: LeftS | None = None,
    *,
    give_room: Callable[[], None] = lambda: None,
    wait: Callable[[], None] = lambda: None,
) -> Iterator[Mapping[str, Portion]]:
    """Decide how much of what waits is taken: all of it where there is room and time for it.

    Until the block ends nobody else on this machine is promised the same room.

    Args:
        parts: what the vault consists of.
        collections: what is to be compacted, at once.
        left_s: tells how long it may take; None for as long as it takes.
        give_room: called where there is too little for everything, before it is decided.
        wait: called now and then while others have the room that the oldest runs need; what it
            raises ends the waiting.

    Raises:
        Unavailable: ``disk-full``, there is no room for the oldest run, and nobody has it; nothing
            was begun.
        Conflict: ``cannot-write``, the cache's folder.
    """
    waiting = _waiting(parts, collections)
    if not waiting:
        yield {}
        return
    if parts.checkouts.free_bytes() < _all_of(waiting):
        give_room()
    chosen: Mapping[str, Portion] = {}

    def claim(others_bytes: int) -> int | None:
        nonlocal chosen
        free = parts.checkouts.free_bytes()
        if others_bytes and free - others_bytes < sum(each.least_bytes for each in waiting):
            return None
        chosen = _decided(waiting, free - others_bytes, left_s() if left_s is not None else None)
        return sum(each.needed_by(chosen[each.name]) for each in waiting)

    with parts.checkouts.promises.kept(claim, wait):
        yield chosen


def _all_of(waiting: Sequence[_LookedAt]) -> int:
    return sum(each.needed_by(ALL) for each in waiting)


def _decided(
    waiting: Sequence[_LookedAt], free: int, left_s: float | None
) -> Mapping[str, Portion]:
    least = sum(each.least_bytes for each in waiting)
    if free < least:
        raise disk_full(
            f"compacting {', '.join(each.name for each in waiting)} may take {_mb(least)} in the "
            f"cache, whose disk has {_mb(free)} left; nothing was begun, the runs wait on"
        )
    everything = _all_of(waiting)
    # Beyond the oldest run of each, what there is room for is shared out evenly.
    more = (free - least) // GROWTH // len(waiting)
    return {
        each.name: portion(
            each.runs,
            each.name,
            delta_bytes=None if everything <= free else each.oldest_bytes + more,
            left_s=left_s,
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
    def least_bytes(self) -> int:
        return needed_bytes(self.directory_bytes, self.oldest_bytes)

    def needed_by(self, portion: Portion) -> int:
        runs = portion.of(self.runs, self.name)
        delta_bytes = sum(run.parts[self.name].size_bytes for run in runs)
        return needed_bytes(self.directory_bytes, delta_bytes)


def _waiting(parts: Parts, collections: Sequence[str]) -> list[_LookedAt]:
    found = [_looked_at(parts, name) for name in collections]
    return [each for each in found if each.runs]


def _looked_at(parts: Parts, name: str) -> _LookedAt:
    runs = parts.ledger.waiting(name)
    version = head(parts.store, name).version if runs else None
    return _LookedAt(name, runs, version.manifest.size_bytes if version else 0)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
