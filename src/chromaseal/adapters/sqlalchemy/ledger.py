"""The ledger in a database: one class for SQLite and PostgreSQL, which ``Database`` tells apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager

from sqlalchemy import ColumnElement, Connection, bindparam, case, insert, select, update

from chromaseal.adapters.sqlalchemy import schema, statements
from chromaseal.adapters.sqlalchemy.engine import Database
from chromaseal.errors import Conflict
from chromaseal.record import clean_text
from chromaseal.run.lease import Lease
from chromaseal.run.ledger import Listener
from chromaseal.run.model import WAITING_STATES, Run, RunState

_BY_AGE = (schema.run.c.created_at, schema.run.c.run_id)
# Fewer than any database takes parameters for one statement.
_MOVED_AT_ONCE = 5000
_NOBODY = ""
_INSERT_PART = insert(schema.part)
_INSERT_ATTRIBUTE = insert(schema.run_attribute)


class SqlLedger:
    """Runs and leases in a database; its tables are made, or brought up to date, on opening.

    Args:
        database: where.

    Raises:
        Unavailable: ``ledger-unavailable``.
        Unsupported: ``newer-ledger``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert_run = database.insert_once(schema.run).returning(schema.run.c.run_id)
        try:
            if database.there:
                self._prepare()
        except BaseException:
            database.close()
            raise

    @property
    def url(self) -> str:
        """Say where this is, without credentials."""
        return self._database.url

    def bind(self, vault_id: str) -> None:
        """Tie the ledger to a vault, for ever; the first vault that comes has it."""
        if not self._database.there:
            return
        found = self.bound_to()
        if not found and self._database.writable:
            with self._database.writing() as connection:
                once = self._database.insert_once(schema.vault)
                connection.execute(once, {"only": 1, "vault_id": vault_id})
            found = self.bound_to()
        if found not in {"", vault_id}:
            raise Conflict(
                f"the ledger {self.url} keeps the runs of vault {found}, this is {vault_id}",
                kind="other-vault",
                hint="name a ledger of this vault's own with --ledger",
            )

    def bound_to(self) -> str:
        """Give the id of the vault that the ledger is tied to; empty for none."""
        if not self._database.there:
            return ""
        with self._database.reading() as connection:
            return str(connection.execute(select(schema.vault.c.vault_id)).scalar() or "")

    def add(self, run: Run) -> bool:
        """Keep a new run; one of that id that is there stays as it is."""
        with self._database.writing() as connection:
            if not self._insert(connection, run):
                return False
            pending = {name for name, each in run.parts.items() if each.state is RunState.PENDING}
            self._database.announce(connection, pending)
            return True

    def get(self, run_id: str) -> Run | None:
        """Give one run."""
        return next(iter(self._runs(schema.run.c.run_id == run_id)), None)

    def with_prefix(self, prefix: str, *, limit: int = 2) -> list[Run]:
        """Give runs whose id starts with a text, as people shorten ids."""
        starting = statements.starts_with(prefix)
        return self._runs(starting, order=(schema.run.c.run_id,), limit=limit)

    def newest(
        self, *, collection: str = "", state: RunState | None = None, limit: int = 100
    ) -> list[Run]:
        """Give the newest runs first."""
        wanted = []
        if collection or state:
            states = [state] if state else []
            wanted.append(statements.has_part(collection=collection, states=states))
        return self._runs(*wanted, descending=True, limit=limit)

    def find(self, attribute: str, value: str) -> list[Run]:
        """Give the runs that were added with an attribute of that value, newest first."""
        return self._runs(statements.has_attribute(attribute, value), descending=True)

    def waiting(self, collection: str, *, limit: int | None = None) -> list[Run]:
        """Give the runs whose part of a collection is PENDING or MERGING, oldest first."""
        waits = statements.has_part(collection=collection, states=WAITING_STATES)
        return self._runs(waits, limit=limit)

    def counts(self, collection: str) -> Mapping[RunState, int]:
        """Count the parts of a collection in each state."""
        with self._database.reading() as connection:
            rows = connection.execute(statements.counted(collection)).all()
        found = {RunState(state): int(count) for state, count in rows}
        return {state: found.get(state, 0) for state in RunState}

    def listen(self, collections: Collection[str]) -> AbstractContextManager[Listener]:
        """Hear of runs that are added to collections, or go back to PENDING, from now on."""
        return self._database.listen(collections)

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
    ) -> int:
        """Move parts of runs to another state, those only that are in one of ``states``."""
        ids, moved = sorted(set(run_ids)), 0
        values = statements.moved_values(
            collection,
            states=states,
            to=to,
            at=at,
            version_id=version_id,
            error=clean_text(error),
        )
        moving = statements.parts_moved(to)
        with self._database.writing() as connection:
            for start in range(0, len(ids), _MOVED_AT_ONCE):
                some = {**values, "run_ids": ids[start : start + _MOVED_AT_ONCE]}
                moved += len(connection.execute(moving, some).all())
            if moved and to is RunState.PENDING:
                self._database.announce(connection, {collection})
        return moved

    def acquire(self, collection: str, owner: str, *, duration_s: float) -> Lease | None:
        """Take a collection that nobody has; extend the lease of whoever has it already."""
        now_us, mine = self._database.now_us(), schema.lease.c.owner == bindparam("owner")
        expires_us = now_us + _us(duration_s)
        changes = {
            "owner": bindparam("owner"),
            "epoch": case((mine, schema.lease.c.epoch), else_=schema.lease.c.epoch + 1),
            "expires_us": expires_us,
        }
        taking = self._database.insert_or_change(
            schema.lease,
            schema.lease.c.collection,
            changes,
            where=mine | (schema.lease.c.expires_us <= now_us),
        )
        taking = taking.values(
            collection=bindparam("collection"),
            owner=bindparam("owner"),
            epoch=1,
            expires_us=expires_us,
        )
        with self._database.writing() as connection:
            asked = {"collection": collection, "owner": owner}
            epoch = connection.execute(taking.returning(schema.lease.c.epoch), asked).scalar()
        return None if epoch is None else Lease(collection, owner, epoch, duration_s)

    def renew(self, lease: Lease, *, duration_s: float) -> bool:
        """Extend a lease from now on, if it is still the last one that was given."""
        expires_us = self._database.now_us() + _us(duration_s)
        return self._change(lease, {"expires_us": expires_us})

    def release(self, lease: Lease) -> None:
        """Give a lease back, if it is still the last one that was given."""
        # The row stays: the next holder's epoch goes on from it.
        self._change(lease, {"owner": _NOBODY, "expires_us": 0})

    def holder(self, collection: str) -> Lease | None:
        """Give the lease that has not expired."""
        left_us = schema.lease.c.expires_us - self._database.now_us()
        held = select(schema.lease.c.owner, schema.lease.c.epoch, left_us).where(
            schema.lease.c.collection == collection, schema.lease.c.owner != _NOBODY
        )
        with self._database.reading() as connection:
            row = connection.execute(held).one_or_none()
        if row is None or row[2] <= 0:
            return None
        return Lease(collection, row[0], row[1], row[2] / 1e6)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def _prepare(self) -> None:
        database = self._database
        with database.reading() as connection:
            found = database.schema(connection)
        database.refuse_newer(found, schema.SCHEMA)
        if found == schema.SCHEMA or not database.may_migrate:
            return
        # Alembic takes long to import, and is needed once in a ledger's and a release's life.
        from chromaseal.adapters.sqlalchemy.migrations import upgrade  # noqa: PLC0415

        with database.migrating() as connection:
            # Somebody else may have been first.
            found = database.schema(connection)
            database.refuse_newer(found, schema.SCHEMA)
            if found < schema.SCHEMA:
                upgrade(connection, found, schema.SCHEMA)
                database.note_schema(connection, schema.SCHEMA)

    def _insert(self, connection: Connection, new: Run) -> bool:
        if connection.execute(self._insert_run, statements.run_values(new)).scalar() is None:
            return False
        if new.parts:
            connection.execute(_INSERT_PART, statements.part_values(new))
        if new.attributes:
            connection.execute(_INSERT_ATTRIBUTE, statements.attribute_values(new))
        return True

    def _runs(
        self,
        *conditions: ColumnElement[bool],
        order: tuple[ColumnElement[str], ...] = _BY_AGE,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[Run]:
        asked = statements.runs_where(*conditions, order=order, descending=descending, limit=limit)
        with self._database.reading() as connection:
            return statements.runs_of(connection.execute(asked))

    def _change(self, held: Lease, changes: Mapping[str, object]) -> bool:
        still = (
            schema.lease.c.collection == held.collection,
            schema.lease.c.owner == held.owner,
            schema.lease.c.epoch == held.epoch,
        )
        with self._database.writing() as connection:
            return (
                connection.execute(update(schema.lease).where(*still).values(changes)).rowcount == 1
            )


def _us(duration_s: float) -> int:
    return round(duration_s * 1e6)
