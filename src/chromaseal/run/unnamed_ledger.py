"""The ledger of a vault for which none was named: enough for reading, an error for the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NoReturn

from chromaseal.errors import UsageError
from chromaseal.run.lease import Lease
from chromaseal.run.model import Run, RunState


class UnnamedLedger:
    """Refuses whatever asks for runs, with what to do about it."""

    @property
    def url(self) -> str:
        """Say that there is none."""
        return ""

    def bind(self, vault_id: str) -> None:
        """Have nothing to tie."""

    def add(self, run: Run) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def get(self, run_id: str) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def with_prefix(self, prefix: str, *, limit: int = 2) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def newest(
        self, *, collection: str = "", state: RunState | None = None, limit: int = 100
    ) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def find(self, attribute: str, value: str) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def waiting(self, collection: str) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def counts(self, collection: str) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def listen(self, collections: Collection[str]) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

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
    ) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def acquire(self, collection: str, owner: str, *, duration_s: float) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def renew(self, lease: Lease, *, duration_s: float) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def release(self, lease: Lease) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def holder(self, collection: str) -> NoReturn:
        """Refuse."""
        raise _no_ledger()

    def close(self) -> None:
        """Hold nothing."""


def _no_ledger() -> UsageError:
    return UsageError(
        "the vault has no place for a ledger of its own, and none was named",
        kind="no-ledger",
        hint="name one: --ledger sqlite:///var/lib/chromaseal/ledger.sqlite, or, for several "
        "machines, postgresql://USER:PASSWORD@HOST/DATABASE",
    )
