"""What is known of directories: those that were pushed, and those that followers serve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from chromaseal.replication.follow import CURRENT
from chromaseal.testing.audit import needs_of
from chromaseal.testing.simulation import invariants
from chromaseal.testing.simulation.dictionary import Rows, Texts
from chromaseal.testing.simulation.line import Fact, Line

Check: TypeAlias = Callable[..., None]
Read: TypeAlias = Callable[[str, str, Path, int], None]


@dataclass(frozen=True, slots=True)
class Push:
    """A directory that somebody has tried to publish.

    Attributes:
        rows: its records.
        made_from: what it may follow; None where its owner wants it to follow anything.
    """

    rows: Rows
    made_from: tuple[Rows, ...] | None


class Pushes:
    """Directories that somebody has tried to publish, and which versions they have become.

    Args:
        check: asks whether an invariant holds.
        seen: counts.
        texts: records as texts.

    Attributes:
        made_from: by owner, what its directory was since it last was a version.
    """

    def __init__(self, check: Check, seen: Counter[str], texts: Texts) -> None:
        self.made_from: dict[str, tuple[Rows, ...]] = {}
        self._check = check
        self._seen = seen
        self._texts = texts
        self._asked: dict[tuple[str, str], Push] = {}
        self._versions: dict[tuple[str, str], str] = {}

    def asks(self, owner: str, collection: str, rows: Rows, *, replaces: bool) -> None:
        """Take note of a directory that its owner is about to push."""
        made_from = self.made_from.get(owner, ())
        key = (collection, self._texts.hash_of(rows))
        before = self._asked.get(key)
        if before is None or before.made_from is not None:
            self._asked[key] = Push(rows, None if replaces else (*made_from, rows))
        # What it was last told to publish may land after it has changed the directory again.
        self.made_from[owner] = (*made_from, rows)

    def is_asked(self, collection: str, rows: Rows) -> bool:
        """Tell whether somebody has tried to publish exactly these records."""
        return (collection, self._texts.hash_of(rows)) in self._asked

    def is_settled(self, owner: str, rows: Rows) -> bool:
        """Tell whether an owner knows which version its directory is."""
        return self.made_from.get(owner) == (rows,)

    def acknowledges(self, owner: str, line: Line, version_id: str, rows: Rows) -> None:
        """Take note that an owner was told which version its directory is."""
        found = next((fact.rows for fact in line.facts if fact.version_id == version_id), None)
        self._check(invariants.a_push_is_a_version, version_id, found, rows)
        self.made_from[owner] = (rows,)

    def published(self, version_id: str, plain: dict[str, Any], line: Line) -> Fact | None:
        """Look at a version, and give what it must hold if it is a pushed directory."""
        collection = plain["collection"]
        if plain["runs"] or plain["restores"] is not None:
            return None
        key = (collection, plain["records"]["multiset"])
        push, earlier = self._asked.get(key), self._versions.get(key)
        known = push is not None
        self._check(invariants.a_push_is_published_once, version_id, earlier, is_known=known)
        if push is None:
            return None
        self._seen["push"] += 1
        self._versions[key] = version_id
        before = line.facts[-1] if line.facts else None
        follows = before is None or push.made_from is None or before.rows in push.made_from
        self._check(invariants.a_push_follows_its_base, version_id, line.newest, follows=follows)
        records = {record_id: self._texts.record(row) for record_id, row in push.rows.items()}
        needs = frozenset(needs_of(plain, collection, version_id))
        self._seen["push over runs"] += bool(before and before.effective)
        return Fact(version_id, plain["number"], (), records, records, push.rows, needs)


class Served:
    """What followers lead their readers to, looked at whenever somebody has done anything.

    Args:
        check: asks whether an invariant holds.
        read: looks at a copy, as a reader has it.
        seen: counts.
    """

    def __init__(self, check: Check, read: Read, seen: Counter[str]) -> None:
        self._check = check
        self._read = read
        self._seen = seen
        self._folders: dict[str, tuple[str, Path]] = {}
        self._led_to: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def begins(self, name: str, collection: str, folder: Path) -> None:
        """Take note of a follower that starts; what it left is looked at once more."""
        self._folders[name] = (collection, folder)
        self._led_to.pop(name, None)

    def look(self) -> None:
        """Look at the copies that have come since the last look."""
        for name, (collection, folder) in self._folders.items():
            try:
                version_id = (folder / CURRENT).readlink().name
            except OSError:
                # None yet, or none any more: its machine is gone.
                continue
            if self._led_to.get(name) != version_id:
                self._led_to[name] = version_id
                self._look(name, collection, folder / version_id)

    def _look(self, name: str, collection: str, copy: Path) -> None:
        self._seen["move"] += 1
        version_id, number = copy.name, int(copy.name.split("_")[3])
        before = self._numbers.get(name, 0)
        self._numbers[name] = number
        self._read(collection, version_id, copy, 0)
        self._check(invariants.a_follower_never_goes_back, name, version_id, number, before)
