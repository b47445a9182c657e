"""Every ledger keeps the ledger's promises."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chromaseal.adapters.sqlalchemy.ledger import SqlLedger
from chromaseal.adapters.sqlalchemy.postgres import PostgresDatabase
from chromaseal.adapters.sqlalchemy.sqlite import SqliteDatabase
from chromaseal.composition.engine import open_ledger
from chromaseal.errors import Unavailable, UsageError
from chromaseal.run.late_ledger import LateLedger
from chromaseal.run.lease import Leases
from chromaseal.run.ledger import Ledger
from chromaseal.run.unnamed_ledger import UnnamedLedger
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.ledger_contract import LedgerContract
from chromaseal.testing.simulation.memory_ledger import MemoryLedger

RETRIED_AFTER_S = 1.0


class TestSqlite(LedgerContract):
    """An SQLite file."""

    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Iterator[Ledger]:
        """Give an empty one."""
        ledger = SqlLedger(SqliteDatabase(tmp_path / "ledger.sqlite"))
        yield ledger
        ledger.close()


class TestMemory(LedgerContract):
    """SQLite in memory."""

    @pytest.fixture
    def ledger(self) -> Iterator[Ledger]:
        """Give an empty one."""
        ledger = SqlLedger(SqliteDatabase(None))
        yield ledger
        ledger.close()


class TestDictionary(LedgerContract):
    """The simulation's ledger, a dictionary."""

    @pytest.fixture
    def ledger(self) -> Ledger:
        """Give an empty one."""
        return MemoryLedger()


class TestPostgres(LedgerContract):
    """PostgreSQL."""

    @pytest.fixture
    def ledger(self, postgres_url: str) -> Iterator[Ledger]:
        """Give an empty one."""
        ledger = SqlLedger(PostgresDatabase(postgres_url))
        yield ledger
        ledger.close()


class TestDynamoDb(LedgerContract):
    """A DynamoDB table, of which a transaction takes a hundred writes."""

    MOVES = 8
    THOUSANDS = 1_000
    ALL_OR_NONE = False

    @pytest.fixture
    def ledger(self, dynamodb_url: str) -> Iterator[Ledger]:
        """Give an empty one."""
        with closing(open_ledger(dynamodb_url)) as ledger:
            yield ledger


class TestLate(LedgerContract):
    """A ledger whose database did not answer at first."""

    @pytest.fixture
    def ledger(self) -> Iterator[Ledger]:
        """Give an empty one."""
        clock = ManualClock()
        ledger = LateLedger(
            lambda: SqlLedger(SqliteDatabase(None)), Unavailable("away"), "memory://", clock=clock
        )
        clock.sleep(RETRIED_AFTER_S)
        yield ledger
        ledger.close()


def test_a_late_ledger_is_opened_when_it_answers() -> None:
    """Until then it says why, and asks no more than once a second."""
    clock, tries = ManualClock(), 0

    def opened() -> SqlLedger:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable(f"away {tries}", kind="ledger-unavailable")
        return SqlLedger(SqliteDatabase(None))

    ledger = LateLedger(opened, Unavailable("away", hint="wait"), "memory://", clock=clock)
    with pytest.raises(Unavailable, match=r"^away$"):
        ledger.counts("notes")
    for said in ("away 1", "away 2"):
        clock.sleep(RETRIED_AFTER_S)
        for _ in range(2):
            with pytest.raises(Unavailable, match=said):
                ledger.counts("notes")
    clock.sleep(RETRIED_AFTER_S)
    assert not any(ledger.counts("notes").values())
    assert ledger.holder("notes") is None
    assert tries == 3
    ledger.close()


def test_without_a_ledger_everything_is_refused() -> None:
    """Whatever a ledger or its leases can be asked, the answer is how to name one."""
    ledger = UnnamedLedger()
    verbs = {
        name: method
        for protocol in (Ledger, Leases)
        for name, method in inspect.getmembers(protocol, inspect.isfunction)
        if not name.startswith("_") and name not in {"bind", "close"}
    }
    assert {"waiting", "counts", "listen", "acquire"} <= verbs.keys()
    for name, method in verbs.items():
        needed = [
            (each.name, each.kind)
            for each in list(inspect.signature(method).parameters.values())[1:]
            if each.default is each.empty
        ]
        given = [None for _, kind in needed if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        named = {each: None for each, kind in needed if kind is inspect.Parameter.KEYWORD_ONLY}
        with pytest.raises(UsageError) as caught:
            getattr(ledger, name)(*given, **named)
        assert caught.value.kind == "no-ledger"
