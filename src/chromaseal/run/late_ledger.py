"""A ledger that did not answer when its vault was opened, and is opened once it does.

Workers and writers outlive the restarts of a database: one that begins during a restart goes on
after it like all others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from chromaseal.clock import Clock
from chromaseal.errors import Unavailable
from chromaseal.run.lease import Lease, Leases
from chromaseal.run.ledger import Ledger, Listener
from chromaseal.run.model import Run, RunState

# Each try may take as long as a connection does; whoever asks in between gets the last answer.
_TRIED_AGAIN_S = 1.0


class LedgerWithLeases(Ledger, Leases, Protocol):
    """Where runs and leases are kept."""


class LateLedger:
    """Opens the ledger when it is asked, and does with it what it is asked.

    Args:
        open_ledger: opens it, tied to its vault; raises ``Unavailable`` while that cannot be.
        error: why it could not be opened the first time.
        url: where it is, without credentials.
        clock: time.
    """

    def __init__(
        self,
        open_ledger: Callable[[], LedgerWithLeases],
        error: Unavailable,
        url: str,
        *,
        clock: Clock,
    ) -> None:
        self._open = open_ledger
        self._error = error
        self._url = url
        self._clock = clock
        self._tried_s = clock.monotonic_s()
        self._opened: LedgerWithLeases | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Say where this is, without credentials."""
        return self._url

    def bind(self, vault_id: str) -> None:
        """Tie the ledger to a vault, for ever; the first vault that comes has it."""
        self._ledger().bind(vault_id)

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

    def close(self) -> None:
        """Give back what is held."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    def _ledger(self) -> LedgerWithLeases:
        """Give the ledger, opened now if need be.

        Raises:
            Unavailable: it still does not answer.
            ChromasealError: it answers, and cannot be this vault's.
        """
        with self._lock:
            if self._opened is None:
                if self._clock.monotonic_s() < self._tried_s + _TRIED_AGAIN_S:
                    raise self._last_error()
                try:
                    self._opened = self._open()
                except Unavailable as error:
                    self._error = error
                    raise
                finally:
                    self._tried_s = self._clock.monotonic_s()
            return self._opened

    def _last_error(self) -> Unavailable:
        # A new one each time: what was raised keeps the story of whoever it was raised to.
        found = self._error
        return Unavailable(found.message, kind=found.kind, hint=found.hint)
