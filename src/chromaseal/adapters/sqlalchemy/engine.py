"""A database as the ledger uses it: transactions, time, announcements; what dialects share."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from sqlalchemy import Column, ColumnElement, Connection, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from chromaseal.clock import Clock
from chromaseal.errors import Unavailable, Unsupported
from chromaseal.ids import Ids
from chromaseal.run.ledger import Listener


class Database(ABC):
    """One database; a class per dialect says what differs.

    Args:
        url: where it is, without credentials.
        clock: for waiting and, where the database has none of its own, for leases.
        ids: chance, for waits.
    """

    hint: ClassVar[str]

    def __init__(self, url: str, *, clock: Clock, ids: Ids) -> None:
        self.url = url
        self.clock = clock
        self.ids = ids

    @property
    def there(self) -> bool:
        """Whether there is anything that could be asked."""
        return True

    @property
    def writable(self) -> bool:
        """Whether anything may be written."""
        return True

    @property
    def may_migrate(self) -> bool:
        """Whether tables of an older release are to be changed."""
        return True

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """Give a transaction that only reads.

        Raises:
            Unavailable: ``ledger-unavailable``, by this and everything inside.
        """

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """Give a transaction that is committed where the block ends well.

        Raises:
            Unavailable: ``ledger-unavailable``, by this and everything inside.
        """

    @abstractmethod
    def migrating(self) -> AbstractContextManager[Connection]:
        """Give a transaction that nobody else changes tables beside."""

    @abstractmethod
    def schema(self, connection: Connection) -> int:
        """Give the number of the schema that is there; 0 for none."""

    @abstractmethod
    def note_schema(self, connection: Connection, number: int) -> None:
        """Write the number down where releases without Alembic look for it."""

    @abstractmethod
    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """Make an INSERT of the dialect's own, which knows ON CONFLICT."""

    def insert_once(self, table: Table) -> Insert:
        """Make an INSERT that does nothing where the row is there."""
        return self.insert(table).on_conflict_do_nothing()

    def insert_or_change(
        self,
        table: Table,
        key: Column[Any],
        changes: Mapping[str, ColumnElement[Any]],
        *,
        where: ColumnElement[bool] | None = None,
    ) -> Insert:
        """Make an INSERT that changes the row instead, where one with that key is there.

        Args:
            table: where to.
            key: its primary key.
            changes: of a row that is there, by column.
            where: leave it as it is where this does not hold.
        """
        return self.insert(table).on_conflict_do_update(
            index_elements=[key], set_=dict(changes), where=where
        )

    @abstractmethod
    def now_us(self) -> ColumnElement[int]:
        """Give the present moment, in microseconds since 1970, by the clock that leases go by."""

    @abstractmethod
    def announce(self, connection: Connection, collections: Collection[str]) -> None:
        """Wake whoever listens for these collections, once this transaction is committed."""

    @abstractmethod
    def listen(self, collections: Collection[str]) -> AbstractContextManager[Listener]:
        """Hear of announcements from now on."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection."""

    @contextlib.contextmanager
    def answered(self) -> Iterator[None]:
        """Turn what a database raises into the engine's own error."""
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: Exception) -> Unavailable:
        """Say that the database did not do what it was asked, and why."""
        cause: Any = error.orig if isinstance(error, DBAPIError) else error
        # Drivers break and indent their lines; a message of ours is one, in tables too.
        why = " ".join(self.without_secrets(str(cause)).split())
        return Unavailable(
            f"the ledger {self.url} cannot be used: {why}",
            kind="ledger-unavailable",
            hint=self.hint,
        )

    def without_secrets(self, text: str) -> str:
        """Take out of a driver's message what nobody else is to see."""
        return text

    def refuse_newer(self, found: int, known: int) -> None:
        """Refuse tables of a later release.

        Raises:
            Unsupported: ``newer-ledger``.
        """
        if found > known:
            raise Unsupported(
                f"the ledger {self.url} has schema {found}, this release knows {known}",
                kind="newer-ledger",
                hint="upgrade chromaseal on this machine",
            )
