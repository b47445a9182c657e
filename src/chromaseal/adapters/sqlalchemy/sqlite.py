"""SQLite as a ledger's database: one file for all processes of a machine, or memory."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    create_engine,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.pool import StaticPool

from chromaseal.adapters.sqlalchemy.engine import Database
from chromaseal.adapters.sqlalchemy.schema import NUMBER, SCHEMA, announcement
from chromaseal.clock import Clock, SystemClock
from chromaseal.ids import Ids, SystemIds
from chromaseal.run.polling import PollingListener

_BUSY_TIMEOUT_S = 30
# How long a listener sleeps between two looks, give or take a half.
_POLL_S = 0.1


class SqliteDatabase(Database):
    """An SQLite file, for any number of processes on one machine.

    A file that this user cannot change is only read. Where there is none and none can be made,
    a vault can be read all the same: only what asks for runs is refused.

    Args:
        path: the file, made when missing; None keeps everything in memory.
        only_read: whether nothing is written, whatever this user may do.
        clock: the system's by default.
        ids: the system's by default.
    """

    hint = "check that the file can be written, its disk has room, and it is an SQLite database"

    def __init__(
        self,
        path: Path | None,
        *,
        only_read: bool = False,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        url = "memory://" if path is None else f"sqlite://{path.absolute()}"
        super().__init__(url, clock=clock or SystemClock(), ids=ids or SystemIds())
        self._path = path
        # One connection, one thread at a time: SQLite would queue them anyway.
        self._lock = threading.Lock()
        self._copied = False
        with self.answered():
            self._writable = path is None or (not only_read and _can_write(path))
            self._there = self._writable or (path is not None and os.access(path, os.R_OK))
        self._counted = self.insert_or_change(
            announcement, announcement.c.collection, {"number": announcement.c.number + 1}
        )
        self._engine: Engine = create_engine(
            "sqlite://", creator=self._connect, poolclass=StaticPool, hide_parameters=True
        )

    @property
    def there(self) -> bool:
        """Whether there is a file, or one can be made."""
        return self._there

    @property
    def writable(self) -> bool:
        """Whether this user may change the file."""
        return self._writable

    @property
    def may_migrate(self) -> bool:
        """Whether the file, or what was read of it, may be changed."""
        return self._writable or self._copied

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction that only reads."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction that has the right to write from the beginning."""
        # IMMEDIATE: a reader that turns writer halfway would be refused at once.
        with self._transaction("BEGIN IMMEDIATE" if self._writable else "BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Give a transaction that writes; there is one at a time."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection
        if self._copied:
            # What is written to a copy would be lost without a word.
            with self._lock, self.answered(), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA query_only = ON")

    def schema(self, connection: Connection) -> int:
        """Give ``user_version``, which every release has kept."""
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())

    def note_schema(self, connection: Connection, number: int) -> None:
        """Set ``user_version``, so that earlier releases refuse the file."""
        connection.exec_driver_sql(f"PRAGMA user_version = {number}")

    def insert(self, table: Table) -> Insert:
        """Make an INSERT of the dialect's own."""
        return Insert(table)

    def now_us(self) -> ColumnElement[int]:
        """Give the time of this process's clock: all of them are on one machine."""
        now = self.clock.now()
        return literal(int(now.timestamp()) * 1_000_000 + now.microsecond, NUMBER)

    def announce(self, connection: Connection, collections: Collection[str]) -> None:
        """Count announcements, for whoever looks."""
        for collection in sorted(collections):
            connection.execute(self._counted, {"collection": collection, "number": 1})

    @contextlib.contextmanager
    def listen(self, collections: Collection[str]) -> Iterator[PollingListener]:
        """Remember how many announcements there were."""
        names = sorted(collections)
        yield PollingListener(
            lambda: self._announced(names), clock=self.clock, ids=self.ids, poll_s=_POLL_S
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._engine.dispose()

    def _announced(self, collections: Collection[str]) -> int:
        total = select(func.coalesce(func.sum(announcement.c.number), 0))
        with self.reading() as connection:
            wanted = announcement.c.collection.in_(collections)
            return int(connection.execute(total.where(wanted)).scalar_one())

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        with self._lock, self.answered(), self._engine.begin() as connection:
            connection.exec_driver_sql(begin)
            yield connection

    def _connect(self) -> sqlite3.Connection:
        if self._path is not None and self._writable:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(
            _address(self._path, writable=self._writable),
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        if not self._writable and 0 < db.execute("PRAGMA user_version").fetchone()[0] < SCHEMA:
            db, self._copied = _copied(db), True
        db.execute("PRAGMA foreign_keys = ON")
        # A run that was acknowledged is there after a power cut.
        db.execute("PRAGMA synchronous = FULL")
        return db


def _can_write(path: Path) -> bool:
    """Tell whether a file can be changed or made; SQLite writes a journal beside it as well."""
    # Unlike Path.exists, these questions have an answer where looking is forbidden.
    if os.access(path, os.F_OK) and not os.access(path, os.W_OK):
        return False
    folder = next(each for each in path.parents if os.access(each, os.F_OK))
    # Who names what is no folder hears so when it is to be made.
    return os.access(folder, os.W_OK | os.X_OK) or not folder.is_dir()


def _address(path: Path | None, *, writable: bool) -> str:
    if path is None:
        return ":memory:"
    return f"{path.absolute().as_uri()}?mode={'rwc' if writable else 'ro'}"


def _copied(db: sqlite3.Connection) -> sqlite3.Connection:
    """Give the content of a file that may only be read, to be brought to the present schema."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with contextlib.closing(db):
        db.backup(memory)
    return memory
