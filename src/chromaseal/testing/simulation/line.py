"""What is known of a collection: its versions as they came to be, oldest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chromaseal.record import Record
from chromaseal.testing.simulation.dictionary import Rows

Order = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Fact:
    """A version as it came to be.

    Attributes:
        version_id: its id.
        number: its number.
        effective: its runs that no rollback has undone and that came after the last push, in the
            order of their age.
        base: the records of that push.
        records: what it must hold.
        rows: the same as texts.
        needs: the keys of its objects.
    """

    version_id: str
    number: int
    effective: tuple[Order, ...]
    base: Mapping[str, Record]
    records: Mapping[str, Record]
    rows: Rows
    needs: frozenset[str]


@dataclass(slots=True)
class Line:
    """What is known of a collection.

    Attributes:
        facts: its versions, oldest first.
        ids: their ids.
        merged: by run, the number of the version that merged it.
        announced: by the key of a removal, the versions that it announced.
        tagged: by tag, the version that a person was told has it.
    """

    facts: list[Fact] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    merged: dict[str, int] = field(default_factory=dict)
    announced: dict[str, frozenset[str]] = field(default_factory=dict)
    tagged: dict[str, str] = field(default_factory=dict)

    @property
    def going(self) -> frozenset[str]:
        """Give the versions that are announced to go, or went."""
        return frozenset().union(*self.announced.values())

    @property
    def newest(self) -> str:
        """Give the newest version's id; empty before the first."""
        return self.ids[-1] if self.ids else ""
