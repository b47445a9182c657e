"""A lease, kept for as long as its block lasts, or until somebody else has it."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Final, Self

from chromaseal.clock import Clock
from chromaseal.errors import ChromasealError
from chromaseal.run.lease import Lease, Leases
from chromaseal.telemetry.emit import event
from chromaseal.telemetry.observer import Severity

# A lease is renewed twice before it is over, and a ledger that does not answer is asked more often.
_RENEWED_AFTER: Final = 1 / 3
_ASKED_AGAIN_AFTER: Final = 1 / 12


class LeaseKeeper:
    """Takes a lease, renews it from a thread of its own, and gives it back; a context manager.

    Nothing is waited for: where another owner has the lease, ``held`` is False.

    Args:
        leases: where leases are kept.
        collection: what for.
        owner: unique among all that ever ask.
        duration_s: how long others wait for an owner that died.
        clock: what the time that is left is counted by.

    Attributes:
        lost: set when somebody else has taken over, or may have: the work is to end. It is only
            ever a saving; the pointer's compare-and-swap decides.
    """

    def __init__(
        self, leases: Leases, collection: str, owner: str, *, duration_s: float, clock: Clock
    ) -> None:
        self.lost = threading.Event()
        self._leases = leases
        self._collection = collection
        self._owner = owner
        self._duration_s = duration_s
        self._clock = clock
        self._lease: Lease | None = None
        self._renewed_s = 0.0
        self._asked_s = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name=f"lease of {collection}")

    @property
    def held(self) -> bool:
        """Whether the lease was had, and has not been lost."""
        return self._lease is not None and not self.lost.is_set()

    @property
    def lease(self) -> Lease | None:
        """Give the lease; None where another owner had it."""
        return self._lease

    def __enter__(self) -> Self:
        # Counting begins before the ledger's does, so this side never believes for longer.
        self._asked_s = self._renewed_s = self._clock.monotonic_s()
        self._lease = self._leases.acquire(
            self._collection, self._owner, duration_s=self._duration_s
        )
        if self._lease is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lease is None:
            return
        self._ended.set()
        self._thread.join()
        # A ledger that does not answer finds by itself that its time is over.
        with contextlib.suppress(ChromasealError):
            self._leases.release(self._lease)

    def beat(self) -> float:
        """Renew the lease where it is time to; the thread does nothing else.

        Returns:
            Seconds until it is to be called again.
        """
        with self._lock:
            if self._lease is None or self.lost.is_set():
                return self._duration_s
            now_s = self._clock.monotonic_s()
            if now_s < self._due_s():
                return self._due_s() - now_s
            self._asked_s = now_s
            if not self._renew(self._lease, now_s):
                self.lost.set()
                event(
                    "lease lost",
                    Severity.WARNING,
                    collection=self._collection,
                    epoch=self._lease.epoch,
                )
            return max(0.0, self._due_s() - now_s)

    def _due_s(self) -> float:
        if self._asked_s == self._renewed_s:
            return self._renewed_s + self._duration_s * _RENEWED_AFTER
        again_s = self._asked_s + self._duration_s * _ASKED_AGAIN_AFTER
        return min(again_s, self._renewed_s + self._duration_s)

    def _renew(self, lease: Lease, now_s: float) -> bool:
        try:
            if not self._leases.renew(lease, duration_s=self._duration_s):
                return False
        except ChromasealError:
            # Nobody can have it before it is over.
            return self._clock.monotonic_s() < self._renewed_s + self._duration_s
        self._renewed_s = now_s
        return True

    def _beat_on(self) -> None:
        while not self._ended.wait(self.beat()):
            pass
