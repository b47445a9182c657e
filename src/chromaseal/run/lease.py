"""Leases: who works on a collection now, so that others need not.

A lease saves work, it guards nothing: what guards a vault is its pointer. A holder that stalls
and wakes up late loses its lease, and finds out when it renews it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Lease:
    """One owner's turn at one collection.

    Attributes:
        collection: what it is for.
        owner: whose turn it is; unique among all that ever ask.
        epoch: the number of the turn, from 1; each new holder has a greater one than all before.
        expires_in_s: seconds that were left when the ledger answered. Whoever counts them down
            begins before asking, by a clock that is never set.
    """

    collection: str
    owner: str
    epoch: int
    expires_in_s: float


class Leases(Protocol):
    """Where leases are kept; its own clock decides when one has expired."""

    def acquire(self, collection: str, owner: str, *, duration_s: float) -> Lease | None:
        """Take a collection that nobody has; extend the lease of whoever has it already.

        Args:
            collection: what for.
            owner: not empty, and unique.
            duration_s: from now on.

        Returns:
            The lease, with the epoch of the owner's own where it went on, one more than the last
            holder's where it is new; None where another owner's has not expired.
        """
        ...

    def renew(self, lease: Lease, *, duration_s: float) -> bool:
        """Extend a lease from now on, if it is still the last one that was given.

        Returns:
            False: somebody else has taken over, or it was released. Its work is to end.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Give a lease back, if it is still the last one that was given; again does nothing."""
        ...

    def holder(self, collection: str) -> Lease | None:
        """Give the lease that has not expired; None where nobody has one."""
        ...
