"""Which versions of a mount stay, and which leases count.

Clocks decide nothing that could be lost: what leaves a mount is in the vault, and a reader whose
clock is wrong finds its version gone, and copies a newer one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable

from chromaseal.mount.layout import DirectoryName, Lease

LEASE_S = 300.0
# How far the clocks of two machines may differ before one's lease means nothing to the other.
TOLERANCE_S = 60.0
_TOLERANCE = dt.timedelta(seconds=TOLERANCE_S)
_LONGEST = dt.timedelta(seconds=LEASE_S + TOLERANCE_S)


def holds(lease: Lease, now: dt.datetime) -> bool:
    """Whether a lease has not run out; one that ends later than any can does not count."""
    return now - _TOLERANCE <= lease.expires_at <= now + _LONGEST


def staying(
    names: Iterable[DirectoryName],
    doubted: Collection[DirectoryName],
    brought: DirectoryName,
    keep: int,
) -> set[DirectoryName]:
    """Decide which version directories stay.

    Args:
        names: all that are there.
        doubted: those that a reader found damaged.
        brought: the vault's newest version, which is there and sound.
        keep: how many versions stay, that one included.

    Returns:
        One for each of the newest versions that are sound, and the one that was brought. A newer
        one may have come from a process that has taken this one for dead.
    """
    chosen = {brought.version_id: brought}
    others = sorted(set(names) - set(doubted), reverse=True)
    newest = sorted({brought.version_id, *(name.version_id for name in others)})[-keep:]
    for name in others:
        if name.version_id in newest:
            chosen.setdefault(name.version_id, name)
    return set(chosen.values())


def held(leases: Iterable[Lease], now: dt.datetime) -> set[DirectoryName]:
    """Give the version directories that readers hold."""
    return {lease.directory for lease in leases if holds(lease, now)}
