"""Two states of a database and the pages in which they differ -> the rows in which they differ.

Rows in pages that both states have alike need no look. What cannot be told from the pages that
changed is said, never guessed: then the whole database has to be looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from chromaseal.adapters.chroma.btree import (
    MOST_PAGES,
    SCHEMA_ROOT,
    TABLE_INTERIOR,
    TREE_PAGES,
    PageNumbers,
    Pages,
    Value,
    values,
)
from chromaseal.errors import Damaged

_TABLE: Final = "table"
_NO_ROWS: Final = "WITHOUT ROWID"


class CannotTellError(Exception):
    """The pages that changed do not say which rows did; the message says why."""


@dataclass(frozen=True, slots=True)
class RowChanges:
    """The rows of one table in which two states differ; a changed row is in both.

    Attributes:
        removed: as they were, by rowid.
        added: as they are, by rowid.
    """

    removed: Mapping[int, tuple[Value, ...]] = field(default_factory=dict)
    added: Mapping[int, tuple[Value, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.removed or self.added)


def row_changes(before: Pages, after: Pages, changed: PageNumbers) -> dict[str, RowChanges]:
    """Find the rows in which two states of a database differ.

    Args:
        before: the one state.
        after: the other one.
        changed: every page that ``after`` has otherwise than ``before`` or that ``before`` lacks;
            pages that ``after`` lacks need not be in it.

    Returns:
        By table, for every table that has rowids.

    Raises:
        CannotTellError: the schema differs, a long value changed whose row did not, or pages
            cannot be read.
    """
    for pages in (before, after):
        if not pages.header.plain or pages.header.page_count > MOST_PAGES:
            raise CannotTellError("the database is of a kind that ChromaDB does not make")
    try:
        return _row_changes(before, after, changed)
    # What reading damaged pages raises; what is wrong with them is for others to say.
    except (Damaged, IndexError, ValueError, OverflowError, struct.error) as error:
        raise CannotTellError(f"its pages cannot be read: {error}") from error


def _row_changes(before: Pages, after: Pages, changed: PageNumbers) -> dict[str, RowChanges]:
    comparison = _Comparison(before, after, changed)
    tables = _tables(after)
    if comparison.table(SCHEMA_ROOT) or tables != _tables(before):
        raise CannotTellError("the schema changed")
    found = {name: comparison.table(root) for name, root in tables.items()}
    comparison.account_for_all()
    return found


def _tables(pages: Pages) -> dict[str, int]:
    rows = (
        values(cell.payload)
        for number in pages.leaves(SCHEMA_ROOT).tolist()
        for cell, _ in pages.cells(number)
    )
    return {
        str(name): int(root)
        for kind, name, _, root, sql in rows
        if kind == _TABLE and isinstance(root, int) and root and _NO_ROWS not in str(sql)
    }


class _Comparison:
    """One comparison; knows which of the changed pages are explained."""

    def __init__(self, before: Pages, after: Pages, changed: PageNumbers) -> None:
        self._before = before
        self._after = after
        self._changed = changed
        self._explained: set[int] = set()

    def table(self, root: int) -> RowChanges:
        """Compare one table."""
        old, new = self._before.leaves(root), self._after.leaves(root)
        removed = self._cells(self._before, self._differing(old, new), explain=False)
        added = self._cells(self._after, self._differing(new, old), explain=True)
        same = {row_id for row_id, content in added.items() if removed.get(row_id) == content}
        return RowChanges(_decoded(removed, same), _decoded(added, same))

    def account_for_all(self) -> None:
        """Make sure that every changed page has its place, and no long value changed unseen.

        Raises:
            CannotTellError: one has none.
        """
        free = self._after.free()
        changed = [n for n in self._changed.tolist() if n not in self._explained and n not in free]
        kinds = {number: self._after.kind(number) for number in changed}
        unknown = {number for number, kind in kinds.items() if kind not in TREE_PAGES}
        for number, kind in kinds.items():
            if not unknown:
                return
            if kind in TREE_PAGES and kind != TABLE_INTERIOR:
                # An index, or the leaf of a table without rowids: its long values lie elsewhere.
                for _, others in self._after.cells(number):
                    unknown.difference_update(others)
        if unknown:
            raise CannotTellError(f"page {min(unknown)} changed, and no changed row is on it")

    def _differing(self, pages: PageNumbers, others: PageNumbers) -> list[int]:
        changed = np.isin(pages, self._changed) | ~np.isin(pages, others)
        found: list[int] = pages[changed].tolist()
        return found

    def _cells(self, pages: Pages, numbers: Iterable[int], *, explain: bool) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for number in numbers:
            for cell, others in pages.cells(number):
                found[cell.row_id] = cell.payload
                if explain:
                    self._explained.update(others)
            if explain:
                self._explained.add(number)
        return found


def _decoded(cells: Mapping[int, bytes], same: Collection[int]) -> dict[int, tuple[Value, ...]]:
    return {row_id: values(cell) for row_id, cell in cells.items() if row_id not in same}
