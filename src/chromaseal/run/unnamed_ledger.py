"""The ledger of a vault that has none to ask: enough for reading, an error for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from chromaseal.errors import ChromasealError, UsageError
from chromaseal.run.deferred_ledger import DeferredLedger


def no_ledger() -> ChromasealError:
    """Make the error for a vault without a place for a ledger."""
    return UsageError(
        "the vault has no place for a ledger of its own, and none was named",
        kind="no-ledger",
        hint="name one: --ledger sqlite:///var/lib/chromaseal/ledger.sqlite",
    )


class UnnamedLedger(DeferredLedger):
    """Refuses whatever asks for runs, with what to do about it.

    Args:
        why: makes the error; that nobody named one by default.
        url: where the ledger would be; empty where none was named.
    """

    def __init__(self, why: Callable[[], ChromasealError] = no_ledger, url: str = "") -> None:
        super().__init__(url)
        self._why = why

    def bind(self, vault_id: str) -> None:
        """Have nothing to tie."""

    def close(self) -> None:
        """Hold nothing."""

    def _ledger(self) -> NoReturn:
        raise self._why()
