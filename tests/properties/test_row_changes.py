"""The rows in which two states of a database differ, found by pages, are those that SQL finds."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from chromaseal.adapters.chroma.btree import Pages, header_of, values
from chromaseal.adapters.chroma.row_changes import CannotTellError, RowChanges, row_changes

PAGE = 4096
SCHEMA = """
    CREATE TABLE notes (id INTEGER PRIMARY KEY, name TEXT, number, real REAL, body BLOB);
    CREATE INDEX notes_by_name ON notes (name, number) WHERE name IS NOT NULL;
    CREATE TABLE pairs (a TEXT, b TEXT, PRIMARY KEY (a, b));
    CREATE TABLE plain (k PRIMARY KEY, v) WITHOUT ROWID;
"""
TABLES = ("notes", "pairs")
texts = st.text(max_size=20) | st.integers(0, 12_000).map(lambda size: "long" * size)
numbers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, 127, 128, 2**31, None])
reals = st.floats(allow_nan=False) | st.integers(-5, 5).map(float)
rows = st.tuples(
    st.integers(-20, 400), texts, numbers, reals, st.binary(max_size=30) | texts.map(str.encode)
)
Edits: TypeAlias = list[tuple[str, Any]]
edits: st.SearchStrategy[Edits] = st.lists(
    st.tuples(st.just("put"), rows)
    | st.tuples(st.just("drop"), st.integers(-20, 400))
    | st.tuples(st.just("pair"), st.tuples(texts, texts))
    | st.tuples(st.just("unpair"), st.none())
    | st.tuples(st.just("plain"), st.tuples(st.integers(0, 50), texts))
    | st.tuples(st.just("touch"), st.tuples(st.integers(-20, 400), texts)),
    max_size=40,
)
STATEMENTS = {
    "put": "INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?)",
    "drop": "DELETE FROM notes WHERE id = ?",
    "pair": "INSERT OR REPLACE INTO pairs VALUES (?, ?)",
    "plain": "INSERT OR REPLACE INTO plain VALUES (?, ?)",
    "touch": "UPDATE notes SET number = ?, name = ? WHERE id % 7 = 0",
}


def edit(path: Path, done: Sequence[tuple[str, Any]]) -> None:
    """Apply edits in one transaction."""
    with closing(sqlite3.connect(path)) as db:
        for what, given_values in done:
            if what == "unpair":
                db.execute("DELETE FROM pairs WHERE rowid % 2 = 0")
            elif what == "drop":
                db.execute(STATEMENTS[what], (given_values,))
            else:
                db.execute(STATEMENTS[what], given_values)
        db.commit()


def pages_of(body: bytes) -> Pages:
    """Give the pages of a database that is in memory."""
    return Pages(lambda number: body[(number - 1) * PAGE : number * PAGE], header_of(body[:100]))


def differing(before: bytes, after: bytes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Give the pages that the later state has otherwise, numbered from 1."""
    starts = range(0, len(after), PAGE)
    changed = [at // PAGE + 1 for at in starts if before[at : at + PAGE] != after[at : at + PAGE]]
    return np.array(changed, dtype=np.int64)


def stored(path: Path, table: str) -> dict[int, tuple[Any, ...]]:
    """Give a table's rows by rowid, as SQL has them."""
    with closing(sqlite3.connect(path)) as db:
        found = db.execute(f"SELECT rowid, * FROM {table}")  # noqa: S608 - a table of ours
        return {row_id: tuple(rest) for row_id, *rest in found}


def as_sql(row_id: int, row: tuple[Any, ...], table: str) -> tuple[Any, ...]:
    """Give a row as SQL has it: the key is the rowid, and whole real numbers are stored whole."""
    if table != "notes":
        return row
    return (row_id, row[1], row[2], float(row[3]), row[4])


def assert_same_as_sql(found: RowChanges, table: str, before: Path, after: Path) -> None:
    """Compare what was found with what SQL finds."""
    old, new = stored(before, table), stored(after, table)
    assert {i: as_sql(i, row, table) for i, row in found.removed.items()} == {
        i: row for i, row in old.items() if new.get(i) != row
    }
    assert {i: as_sql(i, row, table) for i, row in found.added.items()} == {
        i: row for i, row in new.items() if old.get(i) != row
    }


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=edits, second=edits)
def test_changed_rows_are_those_that_sql_finds(
    tmp_path_factory: pytest.TempPathFactory, first: Edits, second: Edits
) -> None:
    """Whatever happens between two states, their changed pages say exactly what, or nothing."""
    folder = tmp_path_factory.mktemp("states")
    before, after = folder / "before", folder / "after"
    with closing(sqlite3.connect(before)) as db:
        db.executescript(SCHEMA)
        many = [(i, f"name {i}", i, float(i), b"x" * (i % 900)) for i in range(0, 400, 3)]
        db.executemany("INSERT INTO notes VALUES (?, ?, ?, ?, ?)", many)
        db.commit()
    edit(before, first)
    after.write_bytes(before.read_bytes())
    edit(after, second)
    old, new = before.read_bytes(), after.read_bytes()
    try:
        found = row_changes(pages_of(old), pages_of(new), differing(old, new))
    except CannotTellError:
        # The end of a long value was written anew in its place.
        event("cannot tell")
        return
    assert set(found) == set(TABLES)
    for table in TABLES:
        assert_same_as_sql(found[table], table, before, after)


@pytest.fixture
def states(tmp_path: Path) -> tuple[bytes, bytes]:
    """Give a database with a value over several pages, and the same after another row came."""
    path = tmp_path / "before"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA)
        db.execute("INSERT INTO notes VALUES (1, 'a', 1, 1.0, ?)", (b"long" * 5_000,))
        db.commit()
    before = path.read_bytes()
    edit(path, [("pair", ("a", "b"))])
    return before, path.read_bytes()


def test_a_long_value_that_changed_in_place_is_not_passed_over(states: tuple[bytes, bytes]) -> None:
    """Bytes that changed where no changed row leads to are told, not guessed at."""
    before, after = states
    at = after.rindex(b"longlong")
    after = after[:at] + b"lung" + after[at + 4 :]
    with pytest.raises(CannotTellError, match="no changed row is on it"):
        row_changes(pages_of(before), pages_of(after), differing(before, after))


def test_another_schema_asks_for_the_whole(states: tuple[bytes, bytes], tmp_path: Path) -> None:
    """A table that came or went is for the whole look."""
    path = tmp_path / "other"
    path.write_bytes(states[1])
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE other (a)")
        db.commit()
    after = path.read_bytes()
    with pytest.raises(CannotTellError, match="the schema changed"):
        row_changes(pages_of(states[1]), pages_of(after), differing(states[1], after))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(100, 10 * PAGE), byte=st.integers(0, 255))
def test_damaged_pages_are_refused_or_read_as_they_are(
    states: tuple[bytes, bytes], at: int, byte: int
) -> None:
    """No damage makes reading hang, or fail in a way of its own."""
    before, after = states
    at %= len(after)
    after = after[:at] + bytes([byte]) + after[at + 1 :]
    try:
        found = row_changes(pages_of(before), pages_of(after), differing(before, after))
    except CannotTellError:
        return
    assert set(found) == set(TABLES)


def test_values_of_every_kind() -> None:
    """Each way to store a value is read as SQLite says."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t (a, b, c, d, e, f, g, h, i, j, k, l)")
        row = (None, 0, 1, -1, 300, 70_000, 2**33, 2**50, -(2**63), 1.5, "é", b"\0\xff")
        db.execute("INSERT INTO t VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", row)
        db.commit()
        pages = pages_of(db.serialize())
    (cell, others) = next(pages.cells(int(pages.leaves(2)[0])))
    assert values(cell.payload) == row
    assert others == []
