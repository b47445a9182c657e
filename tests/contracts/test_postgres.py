"""What only a ledger in PostgreSQL promises: secrets kept, lost servers survived, few questions."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import event, text

from chromaseal.adapters.sqlalchemy import schema, statements
from chromaseal.adapters.sqlalchemy.engine import Database
from chromaseal.adapters.sqlalchemy.ledger import SqlLedger
from chromaseal.adapters.sqlalchemy.postgres import PostgresDatabase
from chromaseal.adapters.sqlalchemy.sqlite import SqliteDatabase
from chromaseal.composition.engine import open_ledger, open_vault
from chromaseal.errors import ChromasealError, Unavailable, UsageError
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.command_line import chromaseal
from chromaseal.testing.ledger_contract import NOW, pending_run
from chromaseal.testing.postgres import PostgresServer, postgres, restartable_postgres, wheel
from chromaseal.testing.records import record, upserts

CLOSED_PORT_URL = "postgresql://alice:hunter2@127.0.0.1:1/runs"


@pytest.fixture
def database(postgres_url: str) -> Iterator[PostgresDatabase]:
    """Give an empty database."""
    with closing(PostgresDatabase(postgres_url)) as database:
        yield database


@pytest.fixture
def ledger(database: PostgresDatabase) -> SqlLedger:
    """Give an empty ledger."""
    return SqlLedger(database)


def disconnect(server: PostgresServer, url: str) -> None:
    """Have the server drop every connection to a database."""
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}"
    server.execute(sql.SQL(ending).format(sql.Literal(url.rpartition("/")[2])))


@contextmanager
def asked(database: Database) -> Iterator[list[str]]:
    """Collect what a database is asked meanwhile."""
    questions: list[str] = []

    def note(*arguments: object) -> None:
        if str(arguments[2]).lstrip().startswith(("SELECT", "UPDATE", "INSERT", "WITH")):
            questions.append(str(arguments[2]))

    engine = database._engine  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", note)
    yield questions
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_list_of_runs_is_one_question(kind: str, postgres_url: str, tmp_path: Path) -> None:
    """However many runs there are, asking for them and moving them takes one statement each."""
    database: Database = PostgresDatabase(postgres_url)
    if kind == "sqlite":
        database.close()
        database = SqliteDatabase(tmp_path / "ledger.sqlite")
    with closing(database):
        ledger = SqlLedger(database)
        for number in range(50):
            ledger.add(pending_run(f"r{number:02d}", second=number, collections=("a", "b")))
        for ask in (
            lambda: ledger.waiting("a"),
            lambda: ledger.newest(collection="b", state=RunState.PENDING),
            lambda: ledger.with_prefix("r", limit=50),
            lambda: ledger.find("image_id", "r01"),
            lambda: ledger.get("r01"),
            lambda: ledger.counts("a"),
        ):
            with asked(database) as questions:
                assert ask()
            assert len(questions) == 1
        ids = [f"r{number:02d}" for number in range(1000)]
        with asked(database) as questions:
            ledger.move(ids, "a", states=[RunState.PENDING], to=RunState.MERGING, at=NOW)
        assert len(questions) == 1


def test_finding_goes_through_an_index(ledger: SqlLedger, database: PostgresDatabase) -> None:
    """An attribute and the beginning of an id are looked up, not searched for."""
    for number in range(300):
        ledger.add(pending_run(f"r{number}"))
    conditions = (statements.has_attribute("image_id", "r7"), statements.starts_with("r7"))
    with database.reading() as connection:
        connection.execute(text("ANALYZE"))
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        for condition in conditions:
            asking = statements.runs_where(condition, order=(schema.run.c.run_id,))
            compiled = asking.compile(dialect=connection.dialect)
            plan = connection.exec_driver_sql(f"EXPLAIN {compiled}", compiled.params).scalars()
            assert "Seq Scan" not in "\n".join(plan)


@pytest.mark.parametrize(
    "url",
    [
        CLOSED_PORT_URL,
        "postgres://alice:hunter2@127.0.0.1:1/runs",
        "postgresql://127.0.0.1:1/runs?user=alice&password=hunter2",
        "postgresql://alice:hun/ter2?hunter2#@127.0.0.1:1/runs",
        "postgresql://alice:hunter2@127.0.0.1:port/runs",
    ],
)
def test_secrets_stay_secret(url: str) -> None:
    """Neither user nor password is in an error, whatever is wrong."""
    with pytest.raises(ChromasealError) as caught:
        open_ledger(url)
    assert caught.value.kind in {"ledger-unavailable", "bad-url"}
    said = json.dumps(caught.value.as_json())
    assert "127.0.0.1" in said
    assert "hunter2" not in said
    assert "alice" not in said


def test_a_message_is_one_line() -> None:
    """What libpq breaks and indents fits into a table's cell and a line of a log."""
    with pytest.raises(Unavailable, match="Connection refused") as caught:
        open_ledger(CLOSED_PORT_URL)
    assert not set("\n\t") & set(caught.value.message)


def test_a_wrong_password_is_not_repeated(postgres_server: PostgresServer) -> None:
    """The server's own message names the user; ours does not."""
    url = postgres_server.url("postgres").replace(postgres_server.password, "hunter2")
    with pytest.raises(Unavailable, match="password authentication failed") as caught:
        open_ledger(url)
    assert "hunter2" not in str(caught.value)
    assert "chromaseal-test" not in str(caught.value)


def test_commands_show_no_secrets(tmp_path: Path) -> None:
    """Neither text nor JSON, also where a command looks at its own settings."""
    asked_for = [("runs", "list"), ("doctor",), ("runs", "list", "--json"), ("doctor", "--json")]
    for arguments in asked_for:
        answer = chromaseal(
            *arguments, "--ledger", CLOSED_PORT_URL, cache=tmp_path / "cache", folder=tmp_path
        )
        assert answer.exit_code != 0
        assert "hunter2" not in answer.out + answer.errors
        assert "alice" not in answer.out + answer.errors


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever installed only the engine is told what is missing."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError) as caught:
        open_ledger(CLOSED_PORT_URL)
    assert caught.value.kind == "missing-extra"
    assert "chromaseal[postgres]" in caught.value.hint


def test_a_vault_opened_while_its_database_was_away_goes_on(tmp_path: Path) -> None:
    """As if it had been opened after that; and a database that died has all that it promised."""
    clock, changes = ManualClock(), {"notes": upserts(record("a", 1))}
    with restartable_postgres() as (server, program):
        settings = Settings(
            (tmp_path / "vault").as_uri(), server.make_database(), tmp_path / "cache"
        )
        with open_vault(settings, clock=clock) as before:
            before.write(changes, run_id="before")
        program.end(signal.SIGQUIT)
        with open_vault(settings, clock=clock) as vault:
            with pytest.raises(Unavailable):
                vault.write(changes, run_id="a")
            program.start_again()
            clock.sleep(1)
            assert vault.write(changes, run_id="a").new
            assert vault.parts.leases.acquire("notes", "me", duration_s=1) is not None
            waiting = vault.parts.ledger.waiting("notes")
            assert [run.run_id for run in waiting] == ["before", "a"]


def test_a_dropped_connection_is_made_again(
    ledger: SqlLedger, postgres_server: PostgresServer, postgres_url: str
) -> None:
    """A server that was restarted between two questions is not noticed."""
    ledger.add(pending_run("a"))
    disconnect(postgres_server, postgres_url)
    assert ledger.get("a") == pending_run("a")


def test_a_connection_lost_in_the_middle_is_unavailable(
    database: PostgresDatabase, postgres_server: PostgresServer, postgres_url: str
) -> None:
    """What was not committed is not there, and the next question is answered."""
    ledger = SqlLedger(database)

    def add_and_be_cut_off() -> None:
        with database.writing() as connection:
            values = statements.run_values(pending_run("a"))
            connection.execute(database.insert_once(schema.run), values)
            disconnect(postgres_server, postgres_url)
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(Unavailable) as caught:
        add_and_be_cut_off()
    assert caught.value.kind == "ledger-unavailable"
    assert postgres_server.password not in str(caught.value)
    assert ledger.get("a") is None


def test_a_listener_that_lost_its_connection_goes_on(
    ledger: SqlLedger, postgres_server: PostgresServer, postgres_url: str
) -> None:
    """It says so once; asked again, it listens anew and has its caller look."""
    with ledger.listen(["lines"]) as listener:
        disconnect(postgres_server, postgres_url)
        with pytest.raises(Unavailable):
            listener.wait(5)
        ledger.add(pending_run("a"))
        assert listener.wait(0)
        assert not listener.wait(0)
        ledger.add(pending_run("b"))
        assert listener.wait(5)


def test_connections_say_whose_they_are(ledger: SqlLedger, database: PostgresDatabase) -> None:
    """An administrator sees the program's name; no statement and no change goes on for ever."""
    assert ledger.get("a") is None
    names = ("application_name", "statement_timeout", "idle_in_transaction_session_timeout")
    with database.reading() as connection:
        found = [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]
    assert found == ["chromaseal", "1min", "1min"]


def test_a_user_who_may_only_read_can_read(ledger: SqlLedger, postgres_url: str) -> None:
    """Binding and reading need no right to write; adding is refused."""
    ledger.add(pending_run("a"))
    ledger.bind("vault-a")
    only_reads = f"{postgres_url}?options=-c%20default_transaction_read_only%3Don"
    with closing(SqlLedger(PostgresDatabase(only_reads))) as reader:
        reader.bind("vault-a")
        assert reader.get("a") == pending_run("a")
        with pytest.raises(Unavailable, match="read-only"):
            reader.add(pending_run("b"))


def test_a_schema_can_be_chosen(postgres_server: PostgresServer, postgres_url: str) -> None:
    """Two ledgers in one database, each in a schema of its own, know nothing of each other."""
    own = postgres_url.rpartition("/")[2]
    for name in ("left", "right"):
        postgres_server.execute(
            sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)), database=own
        )
        url = f"{postgres_url}?options=-csearch_path%3D{name}"
        with closing(SqlLedger(PostgresDatabase(url))) as ledger:
            ledger.bind(name)
            assert ledger.add(pending_run("a"))
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert found.fetchone() == (0,)


def test_a_vault_works_on_it(tmp_path: Path, postgres_url: str) -> None:
    """Write, compact and read, with two vaults' worth of guards."""
    settings = Settings((tmp_path / "vault").as_uri(), postgres_url, tmp_path / "cache")
    with open_vault(settings) as vault:
        vault.write({"notes": upserts(record("a", 1))}, run_id="run-1", attributes={"k": "v"})
        (done,) = vault.compact()
        assert done.merged == ("run-1",)
        assert vault.run("run-1").parts["notes"].state is RunState.COMPLETED
    other = Settings((tmp_path / "other").as_uri(), postgres_url, tmp_path / "cache")
    with pytest.raises(ChromasealError) as caught:
        open_vault(other)
    assert caught.value.kind == "other-vault"


@pytest.mark.slow
def test_the_wheel_will_do() -> None:
    """Where Debian's PostgreSQL is not installed, the development dependency runs all the same."""
    with (
        postgres(programs=wheel()) as server,
        closing(PostgresDatabase(server.make_database())) as database,
    ):
        assert SqlLedger(database).add(pending_run("a"))
