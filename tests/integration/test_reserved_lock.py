"""SQLite's lock taken without SQLite: writers wait, readers do not, nothing is written."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from chromaseal.adapters.chroma.live_directory import LiveDirectory
from chromaseal.adapters.chroma.reserved_lock import journal_in_use
from chromaseal.clock import SystemClock
from chromaseal.errors import ChromasealError
from chromaseal.seal.quiet import DATABASE

# A transaction that has written into the database, and waits for its death or its starter's end.
HALF_WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN")
db.execute("UPDATE t SET x = zeroblob(5000)")
print("half", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give a directory with a small SQLite database."""
    with closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        db.execute("CREATE TABLE t (x)")
        db.executemany("INSERT INTO t VALUES (?)", [(b"x" * 5_000,)] * 50)
        db.commit()
    return tmp_path


@contextmanager
def another_connection(directory: Path, wait_s: float = 0) -> Iterator[sqlite3.Connection]:
    """Give a connection; its locks are its own, for ours belong to a descriptor."""
    path = directory / DATABASE
    with closing(sqlite3.connect(path, isolation_level=None, timeout=wait_s)) as db:
        yield db


def state(directory: Path) -> tuple[list[str], bytes, int]:
    """Give what must stay as it is."""
    path = directory / DATABASE
    names = sorted(path.name for path in directory.iterdir())
    return names, path.read_bytes(), path.stat().st_mtime_ns


def test_writers_wait_and_readers_do_not(directory: Path) -> None:
    """Under the lock a reader reads, a writer is told to wait, and not a byte changes."""
    before = state(directory)
    with (
        LiveDirectory(directory, SystemClock()) as live,
        live.reserved(10) as lock,
        another_connection(directory) as db,
    ):
        assert lock.is_held()
        assert db.execute("SELECT count(*) FROM t").fetchone() == (50,)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            db.execute("BEGIN IMMEDIATE")
        assert state(directory) == before
        lock.release()
        db.execute("BEGIN IMMEDIATE")
    assert not lock.is_held()
    assert state(directory) == before


def test_closing_another_descriptor_drops_nothing(directory: Path) -> None:
    """The lock survives that the same process opens, reads and closes the database."""
    with (
        LiveDirectory(directory, SystemClock()) as live,
        live.reserved(10),
        another_connection(directory) as db,
    ):
        (directory / DATABASE).read_bytes()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            db.execute("BEGIN IMMEDIATE")


def test_a_hold_ends_whatever_the_holder_does(directory: Path) -> None:
    """After 200 ms a writer gets its turn within 250 ms, though the holder never lets go."""
    waits_s = []
    for _ in range(3):
        with (
            LiveDirectory(directory, SystemClock()) as live,
            another_connection(directory, wait_s=10) as db,
            live.reserved(0.2) as lock,
        ):
            start_s = time.monotonic()
            db.execute("BEGIN IMMEDIATE")
            waits_s.append(time.monotonic() - start_s)
            assert not lock.is_held()
            assert lock.held_s >= 0.2
    # The best of three: the machine may have been busy with something else.
    assert 0.15 < min(waits_s) < 0.25


def test_a_writer_is_not_disturbed(directory: Path) -> None:
    """While a transaction is open there is no lock, and the transaction ends as it should."""
    with another_connection(directory) as db, LiveDirectory(directory, SystemClock()) as live:
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM t")
        with live.reserved(10) as lock:
            assert not lock.is_held()
            assert not lock.hot
        db.execute("COMMIT")
        with live.reserved(10) as lock:
            assert lock.is_held()


def test_a_hot_journal_is_neither_locked_nor_rolled_back(directory: Path) -> None:
    """What a dead writer left is told and stays as it is; a living one's is waited for."""
    command = [sys.executable, "-c", HALF_WRITER, str(directory / DATABASE)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        with LiveDirectory(directory, SystemClock()) as live:
            assert journal_in_use(directory / f"{DATABASE}-journal")
            with live.reserved(10) as lock:
                assert (lock.is_held(), lock.hot) == (False, False)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            before = state(directory)
            with live.reserved(10) as lock:
                assert (lock.is_held(), lock.hot) == (False, True)
            assert state(directory) == before
    with another_connection(directory) as db:
        assert db.execute("SELECT count(*) FROM t WHERE x = ?", (b"x" * 5_000,)).fetchone() == (50,)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nothing", "no-database"),
        ("file", "no-database"),
        ("empty", "no-database"),
        ("text", "no-database"),
        ("database-link", "not-a-plain-file"),
        ("link", "not-a-plain-file"),
        ("pipe", "not-a-plain-file"),
        ("folder", "not-a-plain-file"),
        ("wal", "write-ahead-log"),
    ],
)
def test_what_is_no_directory_of_chromadb_is_told(directory: Path, name: str, kind: str) -> None:
    """Other things under the database's name, links and devices are errors of their own."""
    place = spoiled(directory, name)
    with (
        pytest.raises(ChromasealError) as refused,
        LiveDirectory(place, SystemClock()) as live,
    ):
        live.observe()
    assert refused.value.kind == kind


def spoiled(directory: Path, name: str) -> Path:
    """Make a directory into something else."""
    database = directory / DATABASE
    if name in {"empty", "text"}:
        database.write_bytes(b"text" * 100 if name == "text" else b"")
    elif name == "database-link":
        database.symlink_to(database.rename(directory / "elsewhere"))
    elif name == "link":
        (directory / "link").symlink_to(database)
    elif name == "pipe":
        os.mkfifo(directory / "pipe")
    elif name == "folder":
        database.unlink()
        database.mkdir()
    elif name == "wal":
        with closing(sqlite3.connect(database)) as db:
            db.execute("PRAGMA journal_mode = wal")
    return {"nothing": directory / "nothing", "file": database}.get(name, directory)
