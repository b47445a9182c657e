"""Every ledger keeps the ledger's promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chromaseal.adapters.sqlite.ledger import SqliteLedger
from chromaseal.run.ledger import Ledger
from chromaseal.testing.ledger_contract import LedgerContract


class TestSqlite(LedgerContract):
    """An SQLite file."""

    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Iterator[Ledger]:
        """Give an empty one."""
        ledger = SqliteLedger(tmp_path / "ledger.sqlite")
        yield ledger
        ledger.close()


class TestMemory(LedgerContract):
    """SQLite in memory."""

    @pytest.fixture
    def ledger(self) -> Iterator[Ledger]:
        """Give an empty one."""
        ledger = SqliteLedger(None)
        yield ledger
        ledger.close()
