"""Ledgers that releases have written are taken over by every later one, with all that is in them.

``tests/fixtures/ledger-schema-1.sqlite`` was written by release 0.1.0 before it used Alembic,
``ledger-schema-2.sqlite`` is the same after the next one had taken it over.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from chromaseal.adapters.sqlalchemy import schema
from chromaseal.adapters.sqlalchemy.engine import Database
from chromaseal.adapters.sqlalchemy.ledger import SqlLedger
from chromaseal.adapters.sqlalchemy.postgres import PostgresDatabase
from chromaseal.adapters.sqlalchemy.schema import SCHEMA, VERSION_TABLE, metadata
from chromaseal.adapters.sqlalchemy.sqlite import SqliteDatabase
from chromaseal.errors import Conflict, Unavailable, Unsupported
from chromaseal.run.model import RunState
from chromaseal.testing.ledger_contract import NOW, pending_run
from chromaseal.testing.postgres import PostgresServer

FIXTURES = Path(__file__).parents[1] / "fixtures"
OLD = FIXTURES / "ledger-schema-1.sqlite"
OLD_NUMBERS = (1, 2)
VAULT_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
OPENER = """
import sys
from chromaseal.composition.engine import open_ledger
from chromaseal.testing.ledger_contract import pending_run

print("ready", flush=True)
sys.stdin.readline()
ledger = open_ledger(sys.argv[1])
assert ledger.add(pending_run(sys.argv[2]))
ledger.close()
"""
PROCESSES = 4


@pytest.fixture(params=OLD_NUMBERS)
def number(request: pytest.FixtureRequest) -> int:
    """Give the number of an older schema."""
    return int(request.param)


@pytest.fixture
def old(tmp_path: Path, number: int) -> Path:
    """Give a ledger of an older schema to change."""
    return Path(
        shutil.copyfile(FIXTURES / f"ledger-schema-{number}.sqlite", tmp_path / "ledger.sqlite")
    )


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Give what is in the tables that schema 1 had."""
    asked = {name: f"SELECT * FROM {name} ORDER BY 1, 2" for name in ("vault", "run", "part")}  # noqa: S608
    with closing(sqlite3.connect(path)) as db:
        return {name: db.execute(statement).fetchall() for name, statement in asked.items()}


def tables_of(path: Path) -> list[tuple[object, ...]]:
    """Give what a database says of its tables."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


def check_old_runs(ledger: SqlLedger) -> None:
    """Check what release 0.1.0 had put in."""
    assert [run.run_id for run in ledger.newest()] == ["run-4", "run-3", "run-2", "run-1"]
    assert [run.run_id for run in ledger.waiting("words")] == ["run-1", "run-3", "run-4"]
    assert [run.run_id for run in ledger.find("image_id", "img-1")] == ["run-2", "run-1"]
    assert len(ledger.find("note", "\udc80 and \x00 and Ä")) == 1
    run = ledger.get("run-3")
    assert run is not None
    assert (run.parts["lines"].attempts, run.parts["lines"].error) == (1, "disk full")
    assert run.parts["words"].state is RunState.MERGING
    assert ledger.counts("lines")[RunState.COMPLETED] == 1


def test_an_old_ledger_is_taken_over(old: Path) -> None:
    """Every run, part and attribute is there, it belongs to the same vault, and it goes on."""
    before = rows_of(old)
    for _ in range(2):
        with closing(SqlLedger(SqliteDatabase(old))) as ledger:
            check_old_runs(ledger)
            ledger.bind(VAULT_ID)
            with pytest.raises(Conflict):
                ledger.bind("another")
    assert rows_of(old) == before
    with closing(SqlLedger(SqliteDatabase(old))) as ledger:
        assert ledger.add(pending_run("new"))
        assert ledger.acquire("lines", "me", duration_s=1) is not None
        states = [RunState.PENDING]
        assert ledger.move(["new"], "lines", states=states, to=RunState.CANCELLED, at=NOW) == 1
    with closing(sqlite3.connect(old)) as db:
        # Releases that know schema 1 only look at this number, and refuse the file.
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert db.execute(f"SELECT * FROM {VERSION_TABLE}").fetchall() == [(str(SCHEMA),)]  # noqa: S608


def test_an_old_ledger_that_may_only_be_read_is_read(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a change to the file; what would be written is refused, not lost."""
    before = old.read_bytes()
    monkeypatch.setattr("chromaseal.adapters.sqlalchemy.sqlite._can_write", lambda _: False)
    with closing(SqlLedger(SqliteDatabase(old))) as ledger:
        check_old_runs(ledger)
        ledger.bind(VAULT_ID)
        with pytest.raises(Unavailable, match="readonly"):
            ledger.add(pending_run("new"))
        with pytest.raises(Unavailable, match="readonly"):
            ledger.acquire("lines", "me", duration_s=1)
    assert old.read_bytes() == before


def test_a_takeover_that_fails_changes_nothing(
    old: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables and number change together or not at all; the next start tries again."""
    before, tables = rows_of(old), tables_of(old)

    def fail(*_: object) -> None:
        raise OSError("the disk went away")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteDatabase, "note_schema", fail)
        with pytest.raises(Unavailable, match="went away"):
            SqlLedger(SqliteDatabase(old))
    with closing(sqlite3.connect(old)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (number,)
    assert (rows_of(old), tables_of(old)) == (before, tables)
    with closing(SqlLedger(SqliteDatabase(old))) as ledger:
        check_old_runs(ledger)


@pytest.fixture(params=["sqlite", "postgres"])
def made(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer
) -> Iterator[Callable[[], Database]]:
    """Give what opens one and the same empty database."""
    if request.param == "sqlite":
        yield lambda: SqliteDatabase(tmp_path / "ledger.sqlite")
    else:
        url = postgres_server.make_database()
        yield lambda: PostgresDatabase(url)


def test_migrations_make_the_tables_that_statements_are_about(
    made: Callable[[], Database],
) -> None:
    """What Alembic makes of nothing is what ``schema.py`` says."""
    database = made()
    SqlLedger(database).close()
    with database.reading() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        tables = {"announcement"} if connection.dialect.name == "sqlite" else set()
    assert {change[1].name for change in found} == tables
    database.close()


def test_a_newer_database_is_refused(postgres_url: str) -> None:
    """Its tables are left as they are; SQLite's turn is in ``test_newer_formats.py``."""
    database = PostgresDatabase(postgres_url)
    SqlLedger(database).add(pending_run("a"))
    with database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '1000'")  # noqa: S608
    with pytest.raises(Unsupported) as caught:
        SqlLedger(PostgresDatabase(postgres_url))
    assert caught.value.kind == "newer-ledger"
    database.close()


def test_a_postgres_of_schema_2_is_taken_over(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runs stay, and may be cancelled from then on."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "SCHEMA", 2)
        with closing(SqlLedger(PostgresDatabase(postgres_url))) as ledger:
            assert ledger.add(pending_run("a"))
            states = [RunState.PENDING]
            with pytest.raises(Unavailable, match="part_state_check"):
                ledger.move(["a"], "lines", states=states, to=RunState.CANCELLED, at=NOW)
    with closing(SqlLedger(PostgresDatabase(postgres_url))) as ledger:
        assert ledger.get("a") == pending_run("a")
        assert ledger.move(["a"], "lines", states=states, to=RunState.CANCELLED, at=NOW) == 1


@pytest.mark.parametrize("kind", ["sqlite", "old", "postgres"])
def test_processes_may_start_together(
    kind: str, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """Of several that find no tables, or old ones, one makes them, and all of them go on."""
    path = tmp_path / "ledger.sqlite"
    if kind == "old":
        shutil.copyfile(OLD, path)
    url = postgres_server.make_database() if kind == "postgres" else f"sqlite:///{path}"
    names = [f"p{number}" for number in range(PROCESSES)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in names
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in started:
        process.communicate()
    assert [process.wait(60) for process in started] == [0] * PROCESSES
    database = PostgresDatabase(url) if kind == "postgres" else SqliteDatabase(path)
    with closing(SqlLedger(database)) as ledger:
        assert {run.run_id for run in ledger.newest()} >= set(names)
        states = [RunState.PENDING]
        assert ledger.move(names, "lines", states=states, to=RunState.FAILED, at=NOW) == PROCESSES
