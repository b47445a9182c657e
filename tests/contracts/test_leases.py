"""Whoever keeps leases keeps the promises of leases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from chromaseal.adapters.sqlalchemy.engine import Database
from chromaseal.adapters.sqlalchemy.ledger import SqlLedger
from chromaseal.adapters.sqlalchemy.postgres import PostgresDatabase
from chromaseal.adapters.sqlalchemy.sqlite import SqliteDatabase
from chromaseal.composition.engine import open_ledger
from chromaseal.errors import Unavailable
from chromaseal.run.late_ledger import LateLedger
from chromaseal.run.lease import Leases
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.lease_contract import LeaseContract
from chromaseal.testing.simulation.turns import MemoryLeases

CONNECTIONS = 4


def opened(made: Callable[[], Database]) -> Iterator[list[Leases]]:
    """Give ledgers of one database, one per connection, until the test ends."""
    with ExitStack() as held:
        yield [held.enter_context(closing(SqlLedger(made()))) for _ in range(CONNECTIONS)]


class ByManualClock(LeaseContract):
    """Leases that go by a clock in the test's hands."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Give the clock of the leases."""
        return ManualClock()

    @pytest.fixture
    def pass_time(self, clock: ManualClock) -> Callable[[float], None]:
        """Let time pass at once."""
        return clock.sleep


class TestSqlite(ByManualClock):
    """An SQLite file, through several connections, by a clock in the test's hands."""

    @pytest.fixture
    def others(self, tmp_path: Path, clock: ManualClock) -> Iterator[list[Leases]]:
        """Give the same leases through other connections."""
        yield from opened(lambda: SqliteDatabase(tmp_path / "ledger.sqlite", clock=clock))

    @pytest.fixture
    def leases(self, others: list[Leases]) -> Leases:
        """Give leases of which none is held."""
        return others[0]


class TestDictionary(ByManualClock):
    """The simulation's leases, a dictionary."""

    @pytest.fixture
    def leases(self, clock: ManualClock) -> Leases:
        """Give leases of which none is held."""
        return MemoryLeases(clock)


class TestMemory(ByManualClock):
    """SQLite in memory."""

    @pytest.fixture
    def leases(self, clock: ManualClock) -> Iterator[Leases]:
        """Give leases of which none is held."""
        with closing(SqlLedger(SqliteDatabase(None, clock=clock))) as ledger:
            yield ledger


class TestLate(ByManualClock):
    """A ledger whose database did not answer at first."""

    @pytest.fixture
    def leases(self, clock: ManualClock) -> Iterator[Leases]:
        """Give leases of which none is held."""
        error = Unavailable("away")
        ledger = LateLedger(
            lambda: SqlLedger(SqliteDatabase(None, clock=clock)), error, "memory://", clock=clock
        )
        clock.sleep(1)
        with closing(ledger):
            yield ledger


class TestPostgres(LeaseContract):
    """PostgreSQL, through several connections, by the server's clock: machines' may stand still."""

    @pytest.fixture
    def others(self, postgres_url: str) -> Iterator[list[Leases]]:
        """Give the same leases through other connections."""
        yield from opened(lambda: PostgresDatabase(postgres_url, clock=ManualClock()))

    @pytest.fixture
    def leases(self, others: list[Leases]) -> Leases:
        """Give leases of which none is held."""
        return others[0]

    @pytest.fixture
    def pass_time(self) -> Callable[[float], None]:
        """Let real time pass."""
        return time.sleep


class TestDynamoDb(LeaseContract):
    """A DynamoDB table, through several connections, by a clock that the server agrees with."""

    ROUNDS = 4

    @pytest.fixture
    def others(self, dynamodb_url: str) -> Iterator[list[Leases]]:
        """Give the same leases through other connections."""
        with ExitStack() as held:
            ledgers = (open_ledger(dynamodb_url) for _ in range(2))
            yield [held.enter_context(closing(ledger)) for ledger in ledgers]

    @pytest.fixture
    def leases(self, others: list[Leases]) -> Leases:
        """Give leases of which none is held."""
        return others[0]

    @pytest.fixture
    def pass_time(self) -> Callable[[float], None]:
        """Let real time pass."""
        return time.sleep
