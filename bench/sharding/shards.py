"""A sharded collection as plain data: a map, leaves with a pointer each, and deltas that wait.

Everything that a store keeps changes by creating what was not there or by comparing and swapping,
as in a vault; nothing else is assumed. RFC 0023 says what stands for what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

BITS: Final = 16
# Later orders win; None is a deletion, which is a record too.
Record: TypeAlias = "tuple[int, str | None]"
Records: TypeAlias = Mapping[str, Record]


def bits_of(receipt: int) -> str:
    """Give the bits by which a receipt's records find their leaf; stands for a digest."""
    mixed = (receipt * 0x9E3779B1 + 0x7F4A7C15) & 0xFFFFFFFF
    return f"{mixed ^ mixed >> 15:032b}"[-BITS:]


def receipt_of(record_id: str) -> int:
    """Give the receipt that a record is of: all records of one are in one leaf."""
    return int(record_id.partition("#")[0])


@dataclass(frozen=True, slots=True)
class Head:
    """What a leaf's pointer leads to.

    Attributes:
        runs: that are in it.
        records: as they are.
        fenced: whether no version may follow.
    """

    runs: frozenset[int] = frozenset()
    records: Records = field(default_factory=dict)
    fenced: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """What a run changes in a leaf; its number is the order among all runs."""

    run: int
    records: Records


@dataclass(slots=True)
class Store:
    """What is durable.

    Attributes:
        leaves: the newest map: the prefix of every leaf.
        heads: by prefix.
        deltas: by prefix and run.
    """

    leaves: frozenset[str] = frozenset({""})
    heads: dict[str, Head] = field(default_factory=lambda: {"": Head()})
    deltas: dict[tuple[str, int], Delta] = field(default_factory=dict)

    def create_delta(self, leaf: str, delta: Delta) -> None:
        """Put a delta where none of that run is."""
        self.deltas.setdefault((leaf, delta.run), delta)

    def swap_head(self, leaf: str, before: Head | None, after: Head) -> bool:
        """Move a pointer if it is where it was."""
        if self.heads.get(leaf) is not before:
            return False
        self.heads[leaf] = after
        return True

    def swap_leaves(self, before: frozenset[str], after: frozenset[str]) -> bool:
        """Move the map if it is what it was."""
        if self.leaves != before:
            return False
        self.leaves = after
        return True

    def waiting(self, leaf: str, runs: frozenset[int]) -> list[Delta]:
        """Give a leaf's deltas that are not among some runs, in an order that means nothing."""
        return [
            each for (name, run), each in self.deltas.items() if name == leaf and run not in runs
        ]

    def seen(self) -> dict[str, Record]:
        """Give what a reader has that asks every leaf of the map."""
        return {i: each for leaf in self.leaves for i, each in self.heads[leaf].records.items()}


def leaf_of(leaves: frozenset[str], receipt: int) -> str:
    """Find the leaf that has a receipt's records."""
    bits = bits_of(receipt)
    return next(leaf for leaf in leaves if bits.startswith(leaf))


def merged(head: Head, deltas: list[Delta]) -> Head:
    """Merge deltas: of each record the later order stays, whatever comes first."""
    records = dict(head.records)
    for delta in deltas:
        for record_id, record in delta.records.items():
            if record_id not in records or records[record_id][0] < record[0]:
                records[record_id] = record
    return Head(head.runs | {delta.run for delta in deltas}, records)


def within(records: Records, leaf: str) -> dict[str, Record]:
    """Give the records that belong below a prefix."""
    return {i: each for i, each in records.items() if bits_of(receipt_of(i)).startswith(leaf)}
