"""The ledger of a vault that has none to ask: enough for reading, an error for the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NoReturn

from chromaseal.errors import ChromasealError, UsageError
from chromaseal.run.lease import Lease
from chromaseal.run.model import Run, RunState


def no_ledger() -> ChromasealError:
    """Make the error for a vault without a place for a ledger."""
    return UsageError(
        "the vault has no place for a ledger of its own, and none was named",
        kind="no-ledger",
        hint="name one: --ledger sqlite:///var/lib/chromaseal/ledger.sqlite",
    )


class UnnamedLedger:
    """Refuses whatever asks for runs, with what to do about it.

    Args:
        why: makes the error; that nobody named one by default.
        url: where the ledger would be; empty where none was named.
    """

    def __init__(self, why: Callable[[], ChromasealError] = no_ledger, url: str = "") -> None:
        self._why = why
        self._url = url

    @property
    def url(self) -> str:
        """Say where it would be."""
        return self._url

    def bind(self, vault_id: str) -> None:
        """Have nothing to tie."""

    def add(self, run: Run) -> NoReturn:
        """Refuse."""
        raise self._why()

    def get(self, run_id: str) -> NoReturn:
        """Refuse."""
        raise self._why()

    def with_prefix(self, prefix: str, *, limit: int = 2) -> NoReturn:
        """Refuse."""
        raise self._why()

    def newest(
        self, *, collection: str = "", state: RunState | None = None, limit: int = 100
    ) -> NoReturn:
        """Refuse."""
        raise self._why()

    def find(self, attribute: str, value: str) -> NoReturn:
        """Refuse."""
        raise self._why()

    def waiting(self, collection: str, *, limit: int | None = None) -> NoReturn:
        """Refuse."""
        raise self._why()

    def counts(self, collection: str) -> NoReturn:
        """Refuse."""
        raise self._why()

    def listen(self, collections: Collection[str]) -> NoReturn:
        """Refuse."""
        raise self._why()

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
        raise self._why()

    def acquire(self, collection: str, owner: str, *, duration_s: float) -> NoReturn:
        """Refuse."""
        raise self._why()

    def renew(self, lease: Lease, *, duration_s: float) -> NoReturn:
        """Refuse."""
        raise self._why()

    def release(self, lease: Lease) -> NoReturn:
        """Refuse."""
        raise self._why()

    def holder(self, collection: str) -> NoReturn:
        """Refuse."""
        raise self._why()

    def close(self) -> None:
        """Hold nothing."""
