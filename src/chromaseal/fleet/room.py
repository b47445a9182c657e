"""Whether a merge has room on this machine's disk, asked before anything is begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from chromaseal.errors import Unavailable
from chromaseal.parts import Parts
from chromaseal.snapshot.history import head

# What is kept of the head, the private copy that is merged into, and the copy that is published.
_COPIES: Final = 3
# A delta is compressed; its records become rows, a full-text index, a log and an index of vectors.
_GROWTH: Final = 8
# SQLite and its journal take some whatever there is to merge.
_FLOOR_BYTES: Final = 32 << 20

FreeBytes = Callable[[], int]


def needed_bytes(directory_bytes: int, delta_bytes: int) -> int:
    """Estimate what a merge takes on the disk at most.

    Args:
        directory_bytes: the newest version's size; 0 for a first version.
        delta_bytes: of all deltas that wait, as they are stored.
    """
    return _FLOOR_BYTES + _COPIES * directory_bytes + _GROWTH * delta_bytes


def check_room(parts: Parts, collections: Sequence[str], free_bytes: FreeBytes) -> None:
    """Refuse to begin what would fill the disk.

    Args:
        parts: what the vault consists of.
        collections: what is to be compacted, at once.
        free_bytes: tells how much the cache's disk has left.

    Raises:
        Unavailable: ``disk-full``; nothing was begun.
    """
    needed = sum(_needed_by(parts, name) for name in collections)
    free = free_bytes()
    if free < needed:
        raise Unavailable(
            f"compacting {', '.join(collections)} may take {_mb(needed)} in the cache, whose disk "
            f"has {_mb(free)} left; nothing was begun, the runs wait on",
            kind="disk-full",
            hint="make room, or name a cache on another disk with CHROMASEAL_CACHE",
        )


def _needed_by(parts: Parts, collection: str) -> int:
    waiting = parts.ledger.waiting(collection)
    if not waiting:
        return 0
    version = head(parts.store, collection).version
    deltas = sum(run.parts[collection].size_bytes for run in waiting)
    return needed_bytes(version.manifest.size_bytes if version else 0, deltas)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
