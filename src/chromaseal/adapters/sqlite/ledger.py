"""The ledger of one machine, in an SQLite file."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from chromaseal.errors import Conflict, Unavailable, Unsupported
from chromaseal.run.model import Run, RunPart, RunState

_SCHEMA_VERSION = 1
_BUSY_TIMEOUT_S = 30
_SCHEMA = """
CREATE TABLE vault (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    vault_id TEXT NOT NULL
) STRICT;
CREATE TABLE run (
    run_id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    attributes TEXT NOT NULL
) STRICT;
CREATE INDEX run_by_age ON run (created_at, run_id);
CREATE TABLE part (
    run_id TEXT NOT NULL REFERENCES run (run_id) ON DELETE CASCADE,
    collection TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('PENDING', 'MERGING', 'COMPLETED', 'FAILED')),
    delta_key TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    changes INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    version_id TEXT NOT NULL,
    error TEXT NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT NOT NULL,
    PRIMARY KEY (run_id, collection)
) STRICT;
CREATE INDEX part_by_state ON part (collection, state);
"""
_PART_COLUMNS = (
    "state, delta_key, size_bytes, changes, attempts, version_id, error, started_at, finished_at"
)
_MOVE = """
UPDATE part SET
    state = :to,
    version_id = :version_id,
    error = :error,
    attempts = attempts + (:to = 'MERGING'),
    started_at = CASE WHEN :to = 'MERGING' THEN :at ELSE started_at END,
    finished_at = CASE WHEN :to IN ('COMPLETED', 'FAILED') THEN :at ELSE '' END
WHERE run_id = :run_id AND collection = :collection
    AND state IN (SELECT value FROM json_each(:states))
"""


class SqliteLedger:
    """Runs in one SQLite file, for any number of processes on one machine.

    A file that this user cannot change is only read. Where there is none and none can be made,
    a vault can be read all the same: only what asks for runs is refused.

    Args:
        path: the file, made when missing; None keeps everything in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        # One connection, one thread at a time: SQLite would queue them anyway.
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        with _answered(self.url):
            self._writable = path is None or _can_write(path)
            self._there = self._writable or (path is not None and os.access(path, os.R_OK))
        if self._there:
            self._prepare()

    @property
    def url(self) -> str:
        """Say where this is."""
        return "memory://" if self._path is None else f"sqlite:///{self._path}"

    def bind(self, vault_id: str) -> None:
        """Tie the ledger to a vault, for ever; the first vault that comes has it."""
        if not self._there:
            return
        with self._transaction() as db:
            if self._writable:
                db.execute("INSERT INTO vault VALUES (1, ?) ON CONFLICT DO NOTHING", (vault_id,))
            row = db.execute("SELECT vault_id FROM vault").fetchone()
        found = row[0] if row else vault_id
        if found != vault_id:
            raise Conflict(
                f"the ledger {self.url} keeps the runs of vault {found}, this is {vault_id}",
                kind="other-vault",
                hint="name a ledger of this vault's own with --ledger",
            )

    def add(self, run: Run) -> bool:
        """Keep a new run; one of that id that is there stays as it is."""
        with self._transaction() as db:
            new = db.execute(
                "INSERT INTO run VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (run.run_id, run.created_at, json.dumps(dict(run.attributes), sort_keys=True)),
            )
            if new.rowcount:
                db.executemany(
                    f"INSERT INTO part (run_id, collection, {_PART_COLUMNS}) "  # noqa: S608 - own names
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [(run.run_id, name, *_values(part)) for name, part in run.parts.items()],
                )
            return bool(new.rowcount)

    def get(self, run_id: str) -> Run | None:
        """Give one run."""
        with self._transaction() as db:
            return next(iter(_runs(db, [run_id])), None)

    def with_prefix(self, prefix: str, *, limit: int = 2) -> list[Run]:
        """Give runs whose id starts with a text, as people shorten ids."""
        query = "SELECT run_id FROM run WHERE substr(run_id, 1, ?) = ? ORDER BY run_id LIMIT ?"
        with self._transaction() as db:
            found = db.execute(query, (len(prefix), prefix, limit))
            return _runs(db, [row[0] for row in found])

    def newest(
        self, *, collection: str = "", state: RunState | None = None, limit: int = 100
    ) -> list[Run]:
        """Give the newest runs first."""
        query = """
            SELECT DISTINCT run.run_id, run.created_at FROM run JOIN part USING (run_id)
            WHERE (:collection = '' OR collection = :collection)
                AND (:state = '' OR state = :state)
            ORDER BY run.created_at DESC, run.run_id DESC LIMIT :limit
        """
        wanted = {"collection": collection, "state": state or "", "limit": limit}
        with self._transaction() as db:
            return _runs(db, [row[0] for row in db.execute(query, wanted)])

    def find(self, attribute: str, value: str) -> list[Run]:
        """Give the runs that were added with an attribute of that value, newest first."""
        query = """
            SELECT run_id FROM run, json_each(run.attributes) AS attribute
            WHERE attribute.key = ? AND attribute.value = ?
            ORDER BY created_at DESC, run_id DESC
        """
        with self._transaction() as db:
            return _runs(db, [row[0] for row in db.execute(query, (attribute, value))])

    def waiting(self, collection: str) -> list[Run]:
        """Give the runs whose part of a collection is PENDING or MERGING, oldest first."""
        query = """
            SELECT run_id FROM run JOIN part USING (run_id)
            WHERE collection = ? AND state IN ('PENDING', 'MERGING')
            ORDER BY created_at, run_id
        """
        with self._transaction() as db:
            return _runs(db, [row[0] for row in db.execute(query, (collection,))])

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
        values = {
            "collection": collection,
            "states": json.dumps(list(states)),
            "to": to,
            "at": at,
            "version_id": version_id,
            "error": error,
        }
        with self._transaction() as db:
            return sum(
                db.execute(_MOVE, {**values, "run_id": run_id}).rowcount for run_id in run_ids
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()

    def _prepare(self) -> None:
        with self._transaction() as db:
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found == 0 and self._writable:
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            elif found > _SCHEMA_VERSION:
                raise Unsupported(
                    f"the ledger {self.url} has schema {found}, this release knows "
                    f"{_SCHEMA_VERSION}",
                    kind="newer-ledger",
                    hint="upgrade chromaseal on this machine",
                )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _answered(self.url):
            db = self._connected()
            # IMMEDIATE: a reader that turns writer halfway would be refused at once.
            db.execute("BEGIN IMMEDIATE" if self._writable else "BEGIN")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                # Some errors, a full disk among them, have rolled back already.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            if self._path is not None and self._writable:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                _address(self._path, writable=self._writable),
                uri=True,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            self._db.execute("PRAGMA foreign_keys = ON")
            # A run that was acknowledged is there after a power cut.
            self._db.execute("PRAGMA synchronous = FULL")
        return self._db


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


def _values(part: RunPart) -> tuple[str | int, ...]:
    return (
        part.state,
        part.delta_key,
        part.size_bytes,
        part.changes,
        part.attempts,
        part.version_id,
        part.error,
        part.started_at,
        part.finished_at,
    )


def _runs(db: sqlite3.Connection, run_ids: list[str]) -> list[Run]:
    return [run for run_id in run_ids if (run := _run(db, run_id)) is not None]


def _run(db: sqlite3.Connection, run_id: str) -> Run | None:
    row = db.execute("SELECT created_at, attributes FROM run WHERE run_id = ?", (run_id,))
    found = row.fetchone()
    if found is None:
        return None
    parts = db.execute(
        f"SELECT collection, {_PART_COLUMNS} FROM part WHERE run_id = ? "  # noqa: S608
        "ORDER BY collection",
        (run_id,),
    )
    return Run(
        run_id=run_id,
        created_at=found[0],
        parts={name: RunPart(RunState(state), *rest) for name, state, *rest in parts},
        attributes=json.loads(found[1]),
    )


@contextlib.contextmanager
def _answered(url: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(
            f"the ledger {url} cannot be used: {error}",
            kind="ledger-unavailable",
            hint="check that the file can be written and is an SQLite database",
        ) from error
