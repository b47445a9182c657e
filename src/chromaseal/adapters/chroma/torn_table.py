"""A table of a damaged SQLite file -> the rows that can be read.

A damaged page fails only what has to go through it. So a table is read from both ends, and what
lies between is tried in ever smaller ranges.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Cells: TypeAlias = tuple[Any, ...]
# Where the end of a table cannot be found.
_FARTHEST_ROWS = 1_000_000
_MOST_TRIES = 2_000


@dataclass(slots=True)
class TornTable:
    """What could be read.

    Attributes:
        rows: column values by row id, in order.
        whole: whether nothing failed.
    """

    rows: dict[int, Cells] = field(default_factory=dict)
    whole: bool = True


def read_table(db: sqlite3.Connection, table: str, columns: Sequence[str]) -> TornTable:
    """Read what can be read of a table.

    Args:
        db: read only.
        table: its name; one that does not exist has no rows and is not whole.
        columns: their names; those that the table lacks are None.
    """
    there = _columns(db, table)
    if not there:
        return TornTable(whole=False)
    wanted = ", ".join(name if name in there else f"NULL AS {name}" for name in columns)
    # Of some columns an index has all, and what the table has is asked for here.
    reading = _Reading(db, f"SELECT rowid, {wanted} FROM {table} NOT INDEXED")  # noqa: S608 - our own names
    found = TornTable()
    found.whole = reading.scan(found.rows, "ORDER BY rowid")
    if not found.whole:
        first = max(found.rows, default=0) + 1
        from_end: dict[int, Cells] = {}
        reading.scan(from_end, "ORDER BY rowid DESC")
        last = min(from_end, default=first + _FARTHEST_ROWS)
        reading.between(found.rows, first, last - 1)
        found.rows.update(from_end)
    # Of pages that changed places SQLite gives the rows as they stand.
    found.rows = dict(sorted(found.rows.items()))
    return found


def read_index(
    db: sqlite3.Connection, table: str, columns: Sequence[str], by: Sequence[str]
) -> set[Cells] | None:
    """Read a table's columns from an index that has them all, without the table.

    Args:
        db: read only.
        table: its name.
        columns: what to give, row id among them.
        by: the columns of the index.

    Returns:
        The rows; None where there is no such index or it cannot be read.
    """
    try:
        name = _index_over(db, table, list(by))
        if name is None:
            return None
        query = f"SELECT {', '.join(columns)} FROM {table} INDEXED BY {name}"  # noqa: S608
        return set(db.execute(query))
    except sqlite3.DatabaseError:
        return None


def read_disputes(
    db: sqlite3.Connection, table: str, columns: Sequence[str], rows: Mapping[int, Cells]
) -> dict[int, list[str]]:
    """Compare a table's rows with what its indexes have of them.

    Args:
        db: read only.
        table: its name.
        columns: names of the cells of ``rows``.
        rows: what the table has, by row id.

    Returns:
        What is not the same, by row id; an index that cannot be read says nothing.
    """
    disputes: dict[int, list[str]] = {}
    for name, by, condition in _indexes(db, table):
        if not set(by) <= set(columns):
            continue
        places = [columns.index(column) for column in by]
        query = f"SELECT rowid, {', '.join(by)} FROM {table} INDEXED BY {name}{condition}"  # noqa: S608
        try:
            found = {row_id: tuple(cells) for row_id, *cells in db.execute(query)}
        except sqlite3.DatabaseError:
            continue
        for row_id, cells in rows.items():
            here = tuple(cells[place] for place in places)
            # An index with a condition has only what has a value in its last column.
            expected = None if condition and here[-1] is None else here
            there = found.get(row_id)
            if there != expected:
                disputes.setdefault(row_id, []).append(
                    f"{expected} in the table, {there} in {name}"
                )
        for row_id in found.keys() - rows.keys():
            disputes.setdefault(row_id, []).append(f"only {name} has it: {found[row_id]}")
    return disputes


def _indexes(db: sqlite3.Connection, table: str) -> list[tuple[str, list[str], str]]:
    """Give each index of a table: its name, its columns, and its condition."""
    found = []
    try:
        for _, name, _, _, is_partial in db.execute(f"PRAGMA index_list({table})").fetchall():
            by = [column for *_, column in db.execute(f"PRAGMA index_info({name})")]
            query = "SELECT sql FROM sqlite_master WHERE name = ?"
            (statement,) = db.execute(query, (name,)).fetchone()
            condition = f" WHERE {statement.rpartition('WHERE')[2]}" if is_partial else ""
            if all(by):
                found.append((name, by, condition))
    except (sqlite3.DatabaseError, TypeError):
        return []
    return found


def _index_over(db: sqlite3.Connection, table: str, by: list[str]) -> str | None:
    for _, name, *_ in db.execute(f"PRAGMA index_list({table})"):
        if [column for *_, column in db.execute(f"PRAGMA index_info({name})")] == by:
            return str(name)
    return None


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    try:
        return {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
    except sqlite3.DatabaseError:
        return set()


class _Reading:
    """Queries of one table, of which each may fail."""

    def __init__(self, db: sqlite3.Connection, select: str) -> None:
        self._db = db
        self._select = select
        self._tries_left = _MOST_TRIES

    def scan(self, rows: dict[int, Cells], order: str) -> bool:
        """Take rows until it fails; say whether it did not."""
        return self._take(rows, f"{self._select} {order}", ())

    def between(self, rows: dict[int, Cells], first: int, last: int) -> None:
        """Take what can be taken of a range."""
        for low, high in self._halves(rows, first, last):
            self.between(rows, low, high)

    def _halves(self, rows: dict[int, Cells], first: int, last: int) -> Iterator[tuple[int, int]]:
        if first > last or not self._tries_left:
            return
        self._tries_left -= 1
        query = f"{self._select} WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
        if self._take(rows, query, (first, last)) or first == last:
            return
        middle = (first + last) // 2
        yield first, middle
        yield middle + 1, last

    def _take(self, rows: dict[int, Cells], query: str, values: tuple[int, ...]) -> bool:
        try:
            for row_id, *cells in self._db.execute(query, values):
                rows[row_id] = tuple(cells)
        except sqlite3.DatabaseError:
            return False
        return True
