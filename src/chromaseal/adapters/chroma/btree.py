"""Pages of an SQLite database -> its tables' pages and rows, by SQLite's documented file format.

Only what telling two states of one database from each other asks for: table trees, the cells of
any page, free pages, and values. Source: sqlite.org/fileformat2.html, sections 1.5, 1.6 and 2.1.
Pages are numbered from 1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chromaseal.errors import Damaged

ReadPage: TypeAlias = Callable[[int], bytes]
Value: TypeAlias = str | int | float | bytes | None
PageNumbers: TypeAlias = NDArray[np.int64]

INDEX_INTERIOR: Final = 2
TABLE_INTERIOR: Final = 5
INDEX_LEAF: Final = 10
TABLE_LEAF: Final = 13
TREE_PAGES: Final = frozenset({INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF})
SCHEMA_ROOT: Final = 1
# Up to here the first byte of a page that leads on to another one is 0, and no tree page's is.
MOST_PAGES: Final = (1 << 24) - 1
_HEADER_BYTES: Final = 100
_DEEPEST: Final = 40
_INTEGER_BYTES: Final = (0, 1, 2, 3, 4, 6, 8)
_REAL: Final = 7
_ZERO: Final = 8
_ONE: Final = 9
_FIRST_BLOB: Final = 12


class Cell(NamedTuple):
    """A row of a table, or a key of an index: rowid (0 for a key) and content."""

    row_id: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What the first page says of a database.

    Attributes:
        page_size_bytes: of every page.
        usable_bytes: of a page, for trees.
        page_count: of the database.
        first_free: the first page of the list of free ones; 0 if none is free.
        plain: whether text is UTF-8 and no page serves to move others, as ChromaDB has it.
    """

    page_size_bytes: int
    usable_bytes: int
    page_count: int
    first_free: int
    plain: bool


def header_of(first_page: bytes) -> Header:
    """Read the header of a database."""
    size, reserved = int.from_bytes(first_page[16:18], "big"), first_page[20]
    size = 65536 if size == 1 else size
    page_count, first_free = struct.unpack_from(">II", first_page, 28)
    largest_root, encoding = struct.unpack_from(">II", first_page, 52)
    plain = largest_root == 0 and encoding == 1
    return Header(size, size - reserved, page_count, first_free, plain)


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one state of a database.

    Attributes:
        read: gives a page.
        header: what the first page says.
    """

    read: ReadPage
    header: Header

    def kind(self, number: int) -> int:
        """Give the first byte of a page's own header, one of ``TREE_PAGES`` for a tree page."""
        return self.read(number)[_start(number)]

    def leaves(self, root: int) -> PageNumbers:
        """Give the pages that hold a table's rows, in order.

        Args:
            root: the table's first page.

        Raises:
            Damaged: ``malformed-database``.
        """
        depth, number = 0, root
        while (kind := self.kind(number)) == TABLE_INTERIOR:
            number, depth = int(self._children(number)[0]), depth + 1
            if depth > _DEEPEST:
                raise malformed(f"the tree at page {root} has no end")
        if kind != TABLE_LEAF:
            raise malformed(f"page {number} is no page of the table at page {root}")
        # Every leaf of a tree is at the same depth, so leaves need not be read to be known.
        level = np.array([root], dtype=np.int64)
        for _ in range(depth):
            level = np.concatenate([self._children(int(each)) for each in level])
            if len(level) > self.header.page_count:
                raise malformed(f"the tree at page {root} has more pages than there are")
        return level

    def cells(self, number: int) -> Iterator[tuple[Cell, list[int]]]:
        """Give the cells of a tree page that have content, and the other pages it is on.

        Args:
            number: of the page; an inner page of a table has no such cells.
        """
        page = self.read(number)
        kind = page[_start(number)]
        for start in self._cell_starts(page, number).tolist():
            at, row_id = start + (4 if kind == INDEX_INTERIOR else 0), 0
            size, at = varint(page, at)
            if kind == TABLE_LEAF:
                row_id, at = varint(page, at)
            local = self._local_bytes(size, kind)
            content, others = page[at : at + local], list[int]()
            if local < size:
                rest, others = self._overflow(page, at + local, size - local)
                content += rest
            yield Cell(_signed(row_id), content), others

    def free(self) -> set[int]:
        """Give the pages that hold nothing."""
        found: set[int] = set()
        trunk = self.header.first_free
        while trunk and trunk not in found:
            page = self.read(trunk)
            following, count = struct.unpack_from(">II", page)
            found.add(trunk)
            found.update(struct.unpack_from(f">{count}I", page, 8))
            trunk = following
        return found

    def _children(self, number: int) -> PageNumbers:
        page, start = self.read(number), _start(number)
        if page[start] != TABLE_INTERIOR:
            raise malformed(f"page {number} is no inner page of a table")
        bytes_of = np.frombuffer(page, dtype=np.uint8).astype(np.int64)
        starts = np.append(self._cell_starts(page, number), start + 8)
        weights = np.array([1 << 24, 1 << 16, 1 << 8, 1], dtype=np.int64)
        children: PageNumbers = bytes_of[starts[:, None] + np.arange(4)] @ weights
        return children

    def _cell_starts(self, page: bytes, number: int) -> PageNumbers:
        start = _start(number)
        count = int.from_bytes(page[start + 3 : start + 5], "big")
        first = start + (12 if page[start] in {TABLE_INTERIOR, INDEX_INTERIOR} else 8)
        if page[start] == TABLE_INTERIOR or page[start] in TREE_PAGES:
            return np.frombuffer(page, dtype=">u2", count=count, offset=first).astype(np.int64)
        raise malformed(f"page {number} is no page of a tree")

    def _local_bytes(self, size: int, kind: int) -> int:
        usable = self.header.usable_bytes
        most = usable - 35 if kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if size <= most:
            return size
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        return local if local <= most else least

    def _overflow(self, page: bytes, at: int, size: int) -> tuple[bytes, list[int]]:
        number, parts, numbers = int.from_bytes(page[at : at + 4], "big"), [], list[int]()
        while size > 0:
            if not number or number in numbers:
                raise malformed("the pages of a long value end too early")
            numbers.append(number)
            page = self.read(number)
            parts.append(page[4 : self.header.usable_bytes][:size])
            size -= len(parts[-1])
            number = int.from_bytes(page[:4], "big")
        return b"".join(parts), numbers


def values(payload: bytes) -> tuple[Value, ...]:
    """Read the values of a row."""
    end, at = varint(payload, 0)
    kinds, found = list[int](), list[Value]()
    while at < end:
        kind, at = varint(payload, at)
        kinds.append(kind)
    for kind in kinds:
        value, at = _value(payload, at, kind)
        found.append(value)
    return tuple(found)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind < len(_INTEGER_BYTES):
        end = at + _INTEGER_BYTES[kind]
        return (int.from_bytes(payload[at:end], "big", signed=True) if kind else None), end
    if kind == _REAL:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind in {_ZERO, _ONE}:
        return kind - _ZERO, at
    end = at + (kind - _FIRST_BLOB) // 2
    content = payload[at:end]
    return (content.decode() if kind % 2 else content), end


def varint(page: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable length; give it and where it ends."""
    value = 0
    for length in range(8):
        byte = page[at + length]
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
            return value, at + length + 1
    return (value << 8) | page[at + 8], at + 9


def malformed(why: str) -> Damaged:
    """Make the error for pages that are no database."""
    return Damaged(f"the database cannot be read: {why}", kind="malformed-database")


def _start(number: int) -> int:
    return _HEADER_BYTES if number == SCHEMA_ROOT else 0


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
