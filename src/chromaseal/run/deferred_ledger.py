"""What is asked of a ledger that is had, if at all, only then."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from chromaseal.run.lease import Lease, Leases
from chromaseal.run.ledger import Ledger, Listener
from chromaseal.run.model import Run, RunState


class LedgerWithLeases(Ledger, Leases, Protocol):
    """Where runs and leases are kept."""


class DeferredLedger(ABC):
    """Does with a ledger what it is asked; a class per reason says how it is had.

    Args:
        url: where it is, without credentials; empty where none was named.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @abstractmethod
    def _ledger(self) -> LedgerWithLeases:
        """Give the ledger, or raise why there is none."""

    @property
    def url(self) -> str:
        """Say where this is, without credentials."""
        return self._url

    def bind(self, vault_id: str) -> None:
        """Tie the ledger to a vault, for ever; the first vault that comes has it."""
        self._ledger().bind(vault_id)

    def bound_to(self) -> str:
        """Give the id of the vault that the ledger is tied to; empty for none."""
        return self._ledger().bound_to()

    def add(self, run: Run) -> bool:
        """Keep a new run; one of that id that is there stays as it is."""
        return self._ledger().add(run)

    def get(self, run_id: str) -> Run | None:
        """Give one run."""
        return self._ledger().get(run_id)

    def with_prefix(self, prefix: str, *, limit: int = 2) -> list[Run]:
        """Give runs whose id starts with a text, as people shorten ids."""
        return self._ledger().with_prefix(prefix, limit=limit)

    def newest(
        self, *, collection: str = "", state: RunState | None = None, limit: int = 100
    ) -> list[Run]:
        """Give the newest runs first."""
        return self._ledger().newest(collection=collection, state=state, limit=limit)

    def find(self, attribute: str, value: str) -> list[Run]:
        """Give the runs that were added with an attribute of that value, newest first."""
        return self._ledger().find(attribute, value)

    def waiting(self, collection: str, *, limit: int | None = None) -> list[Run]:
        """Give the runs whose part of a collection is PENDING or MERGING, oldest first."""
        return self._ledger().waiting(collection, limit=limit)

    def counts(self, collection: str) -> Mapping[RunState, int]:
        """Count the parts of a collection in each state."""
        return self._ledger().counts(collection)

    def listen(self, collections: Collection[str]) -> AbstractContextManager[Listener]:
        """Hear of runs that are added to collections, or go back to PENDING, from now on."""
        return self._ledger().listen(collections)

    def move(
        self,
        run_ids: Iterable[str],
        collection: str,
        *,
        states: Iterable[RunState],
        to: RunState,
        at: str,
        version_id: str = "",
        error: str = "",
    ) -> int:
        """Move parts of runs to another state, those only that are in one of ``states``."""
        return self._ledger().move(
            run_ids, collection, states=states, to=to, at=at, version_id=version_id, error=error
        )

    def acquire(self, collection: str, owner: str, *, duration_s: float) -> Lease | None:
        """Take a collection that nobody has; extend the lease of whoever has it already."""
        return self._ledger().acquire(collection, owner, duration_s=duration_s)

    def renew(self, lease: Lease, *, duration_s: float) -> bool:
        """Extend a lease from now on, if it is still the last one that was given."""
        return self._ledger().renew(lease, duration_s=duration_s)

    def release(self, lease: Lease) -> None:
        """Give a lease back, if it is still the last one that was given."""
        self._ledger().release(lease)

    def holder(self, collection: str) -> Lease | None:
        """Give the lease that has not expired; None where nobody has one."""
        return self._ledger().holder(collection)

    @abstractmethod
    def close(self) -> None:
        """Give back what is held."""
