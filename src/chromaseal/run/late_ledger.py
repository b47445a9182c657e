"""A ledger that did not answer when its vault was opened, and is opened once it does.

Workers and writers outlive the restarts of a database: one that begins during a restart goes on
after it like all others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from chromaseal.clock import Clock
from chromaseal.errors import Unavailable
from chromaseal.run.deferred_ledger import DeferredLedger, LedgerWithLeases

# Each try may take as long as a connection does; whoever asks in between gets the last answer.
_TRIED_AGAIN_S = 1.0


class LateLedger(DeferredLedger):
    """Opens the ledger when it is asked.

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
        super().__init__(url)
        self._open = open_ledger
        self._error = error
        self._clock = clock
        self._tried_s = clock.monotonic_s()
        self._opened: LedgerWithLeases | None = None
        self._lock = threading.Lock()

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
