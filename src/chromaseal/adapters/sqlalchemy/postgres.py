"""PostgreSQL as a ledger's database: shared by machines, reached through psycopg."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Table,
    Text,
    cast,
    column,
    create_engine,
    extract,
    func,
    make_url,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.exc import ArgumentError

from chromaseal.adapters.sqlalchemy.engine import Database
from chromaseal.adapters.sqlalchemy.schema import VERSION_TABLE
from chromaseal.clock import Clock, SystemClock
from chromaseal.errors import UsageError
from chromaseal.ids import Ids, SystemIds
from chromaseal.settings import without_secrets

_CHANNEL = "chromaseal_run"
_CONNECT_TIMEOUT_S = 10
_STATEMENT_TIMEOUT_MS = 60_000
# A server that vanished without a word is noticed after about that long.
_SILENCE_S = 30
# How often whoever listens looks whether it is to stop.
_LOOK_S = 0.2
# Of the advisory lock that migrations hold; any number will do, as long as it stays.
_MIGRATION_LOCK = 0x63687273
_AT_ONCE = 5


class PostgresDatabase(Database):
    """A PostgreSQL database, for any number of processes on any number of machines.

    Tables are made in the first schema of the user's search path.

    Args:
        url: ``postgresql://user:password@host/database``; what psycopg takes as ``?name=value``.
        clock: kept for whoever asks; leases go by the server's.
        ids: the system's by default.

    Raises:
        UsageError: ``bad-url``, or ``missing-extra`` where psycopg is not installed.
    """

    hint = "check that the server is up, and host, database, user and password"

    def __init__(self, url: str, *, clock: Clock | None = None, ids: Ids | None = None) -> None:
        super().__init__(without_secrets(url), clock=clock or SystemClock(), ids=ids or SystemIds())
        self._parsed = self._parse(url)
        self._engine: Engine = self._make_engine()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction; what it reads is no reason to lock."""
        with self.answered(), self._engine.begin() as connection:
            yield connection

    def writing(self) -> contextlib.AbstractContextManager[Connection]:
        """Give a transaction."""
        return self.reading()

    @contextlib.contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Give a transaction that holds the lock of all migrations until it ends."""
        with self.writing() as connection:
            # Tables of years may take longer than a statement otherwise should.
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            yield connection

    def schema(self, connection: Connection) -> int:
        """Give what Alembic wrote down."""
        if connection.execute(select(func.to_regclass(VERSION_TABLE))).scalar_one() is None:
            return 0
        number = select(column("version_num", Text)).select_from(table(VERSION_TABLE))
        return int(connection.execute(number).scalar() or 0)

    def note_schema(self, connection: Connection, number: int) -> None:
        """Leave it to Alembic."""

    def insert(self, table: Table) -> Insert:
        """Make an INSERT of the dialect's own."""
        return Insert(table)

    def now_us(self) -> ColumnElement[int]:
        """Give the server's time at the moment of asking, whatever machines' clocks say."""
        return cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)

    def announce(self, connection: Connection, collections: Collection[str]) -> None:
        """Notify; PostgreSQL delivers it when the transaction is committed."""
        if collections:
            told = (func.pg_notify(_CHANNEL, collection) for collection in sorted(collections))
            connection.execute(select(*told))

    @contextlib.contextmanager
    def listen(self, collections: Collection[str]) -> Iterator[NotifiedListener]:
        """Listen, on a connection that nothing else is asked on."""
        listener = NotifiedListener(self, frozenset(collections))
        try:
            yield listener
        finally:
            listener.close()

    def listening(self) -> Connection:
        """Give a connection of its own, which has begun to listen."""
        with self.answered():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            connection.exec_driver_sql(f"LISTEN {_CHANNEL}")
            return connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def without_secrets(self, text: str) -> str:
        """Take password and user out of what libpq says."""
        query = self._parsed.query
        for secret in (self._parsed.password, query.get("password"), query.get("passfile")):
            if isinstance(secret, str) and secret:
                text = text.replace(secret, "***")
        for user in (self._parsed.username, query.get("user")):
            text = text.replace(f'"{user}"', '"***"') if user else text
        return text

    def _parse(self, url: str) -> URL:
        try:
            return make_url(url).set(drivername="postgresql+psycopg")
        except (ArgumentError, ValueError):
            # What they say has the URL in it.
            raise UsageError(
                f"{self.url!r} is no URL of a PostgreSQL database",
                kind="bad-url",
                hint="postgresql://USER:PASSWORD@HOST/DATABASE, with %40 for an @ in a password",
            ) from None

    def _make_engine(self) -> Engine:
        options = f"-c statement_timeout={_STATEMENT_TIMEOUT_MS}"
        # Of a machine that stops in the middle of a change, the locks go as well.
        options += f" -c idle_in_transaction_session_timeout={_STATEMENT_TIMEOUT_MS}"
        defaults: dict[str, str | int] = {
            "application_name": "chromaseal",
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "keepalives_idle": _SILENCE_S // 2,
            "keepalives_interval": _SILENCE_S // 6,
            "keepalives_count": 3,
            "tcp_user_timeout": _SILENCE_S * 1000,
        }
        given = self._parsed.query
        asked = given.get("options", "")
        arguments = {name: value for name, value in defaults.items() if name not in given}
        try:
            return create_engine(
                self._parsed.difference_update_query(["options"]),
                connect_args={**arguments, "options": f"{options} {asked}".strip()},
                hide_parameters=True,
                isolation_level="READ COMMITTED",
                max_overflow=_AT_ONCE * 2,
                pool_pre_ping=True,
                pool_size=_AT_ONCE,
            )
        except ModuleNotFoundError as error:
            raise UsageError(
                f"{error.name} is not installed, and a ledger in PostgreSQL needs it",
                kind="missing-extra",
                hint="pip install 'chromaseal[postgres]'",
            ) from error


class NotifiedListener:
    """Sleeps until PostgreSQL says that something was announced."""

    def __init__(self, database: PostgresDatabase, collections: frozenset[str]) -> None:
        self._database = database
        self._collections = collections
        self._connection: Connection | None = database.listening()

    def wait(self, timeout_s: float, *, stop: threading.Event | None = None) -> bool:
        """Sleep until a notification, the end of the time, or a wish to stop."""
        # Only who listens to PostgreSQL has its errors at hand.
        from psycopg import Error  # noqa: PLC0415

        if self._connection is None:
            # Whatever was announced meanwhile went unheard.
            self._connection = self._database.listening()
            return True
        driver: Any = self._connection.connection.dbapi_connection
        # The socket waits in real time, whatever clock the rest goes by.
        clock = SystemClock()
        end_s = clock.monotonic_s() + timeout_s
        while True:
            left_s = max(end_s - clock.monotonic_s(), 0.0)
            try:
                # All that came with the first are taken, or they would be lost.
                heard = list(driver.notifies(timeout=min(left_s, _LOOK_S), stop_after=1))
            except Error as error:
                self.close()
                raise self._database.unavailable(error) from error
            if any(notice.payload in self._collections for notice in heard):
                return True
            if left_s <= 0 or (stop is not None and stop.is_set()):
                return False

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # It may be lost already, and then there is nobody to end a transaction with.
            driver: Any = connection.connection.dbapi_connection
            driver.close()
            connection.invalidate()
            connection.close()
