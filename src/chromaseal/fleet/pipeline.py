"""Looks at a whole vault -> what has happened in between, and how fast; touches nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chromaseal.clock import age_s, from_iso, to_iso
from chromaseal.errors import ChromasealError
from chromaseal.run.model import WAITING_STATES, RunState

_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class CollectionLook:
    """How a collection stands.

    Attributes:
        name: of the collection.
        number: of the newest version; 0 before the first.
        version_id: of the newest version; empty before the first.
        made_at: when that was made, ISO 8601; empty before the first.
        records: in it.
        merged: runs that it merged.
        lag_s: how long the oldest of these had waited by then; None if it merged none.
        states: how many parts of runs are in each state; empty where the ledger does not tell.
        oldest_at: when the oldest run began that waits; empty if none does.
        holder: who has the collection's lease; empty if nobody has.
        lease_left_s: seconds that the holder has left.
        added: ids of the newest runs, where there are more than at the look before.
        reasons: why runs were set aside, where there are more than at the look before.
    """

    name: str
    number: int = 0
    version_id: str = ""
    made_at: str = ""
    records: int = 0
    merged: int = 0
    lag_s: float | None = None
    states: Mapping[RunState, int] = field(default_factory=dict)
    oldest_at: str = ""
    holder: str = ""
    lease_left_s: float = 0.0
    added: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def runs(self) -> int:
        """Count the runs that the ledger knows."""
        return sum(self.states.values())

    @property
    def waiting(self) -> int:
        """Count the runs that no version has yet, and that are to come into one."""
        return sum(self.states.get(state, 0) for state in WAITING_STATES)

    def as_json(self, now: dt.datetime) -> dict[str, object]:
        """Give it as plain data, with ages instead of moments.

        Args:
            now: what ages are counted to.
        """
        return {
            "collection": self.name,
            "version": self.number,
            "version_id": self.version_id,
            "age_s": age_s(self.made_at, now),
            "records": self.records,
            "runs": {state.value: count for state, count in self.states.items()},
            "oldest_waiting_s": age_s(self.oldest_at, now),
            "holder": self.holder,
            "lease_left_s": self.lease_left_s,
            "lag_s": self.lag_s,
        }


@dataclass(frozen=True, slots=True)
class Look:
    """How a vault stands at one moment.

    Attributes:
        at: UTC.
        collections: in the order of their names.
        problems: what did not answer, by what that is; of it the look before is kept.
    """

    at: dt.datetime
    collections: tuple[CollectionLook, ...] = ()
    problems: Mapping[str, ChromasealError] = field(default_factory=dict)

    def of(self, name: str) -> CollectionLook | None:
        """Give how a collection stands."""
        return next((each for each in self.collections if each.name == name), None)


@dataclass(frozen=True, slots=True)
class Happening:
    """What has happened between two looks.

    Attributes:
        at: when it was seen, ISO 8601.
        what: ``version``, ``added``, ``failed``, ``cancelled``, ``silent`` or ``answered``.
        of: the collection, or what is silent or answered.
        count: how many: versions, or runs.
        detail: more of it, for people.
    """

    at: str
    what: str
    of: str
    count: int
    detail: str


def happenings(before: Look, now: Look) -> list[Happening]:
    """Tell what has changed from one look to the next."""
    at = to_iso(now.at)
    found = [
        Happening(at, "silent", of, 0, error.message)
        for of, error in now.problems.items()
        if of not in before.problems
    ]
    found += [
        Happening(at, "answered", of, 0, "") for of in before.problems if of not in now.problems
    ]
    for each in now.collections:
        old = before.of(each.name)
        if old is not None:
            found += _changed(at, old, each, is_new=False)
        elif not before.problems:
            found += _changed(at, CollectionLook(each.name), each, is_new=True)
    return found


def _changed(at: str, old: CollectionLook, new: CollectionLook, *, is_new: bool) -> list[Happening]:
    found: list[Happening] = []
    if new.version_id and new.version_id != old.version_id:
        detail = f"{new.number}, {new.records} records, {new.merged} runs"
        found.append(Happening(at, "version", new.name, new.number - old.number, detail))
    # A ledger that did not answer at the look before has nothing to be compared with.
    if new.states and (old.states or is_new):
        gone = {state: new.states.get(state, 0) - old.states.get(state, 0) for state in RunState}
        for what, count, details in (
            ("added", new.runs - old.runs, new.added),
            ("failed", gone[RunState.FAILED], new.reasons),
            ("cancelled", gone[RunState.CANCELLED], ()),
        ):
            if count > 0:
                found.append(Happening(at, what, new.name, count, "; ".join(details)))
    return found


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast it goes, by the minute.

    Attributes:
        runs_added: runs that came, counted once per collection.
        runs_merged: runs that versions took, the same.
        versions: versions that were published.
    """

    runs_added: float = 0.0
    runs_merged: float = 0.0
    versions: float = 0.0


def rates(looks: Sequence[Look]) -> Rates:
    """Give the rates between the first and the last of some looks.

    Args:
        looks: in order; of the latest minute, say.
    """
    if not looks or looks[-1].at <= looks[0].at:
        return Rates()
    first, last = looks[0], looks[-1]
    minutes = (last.at - first.at).total_seconds() / _MINUTE_S
    pairs = [(old, new) for new in last.collections if (old := first.of(new.name)) is not None]
    known = [(old, new) for old, new in pairs if old.states and new.states]
    done = RunState.COMPLETED
    return Rates(
        runs_added=_rate(sum(new.runs - old.runs for old, new in known), minutes),
        runs_merged=_rate(sum(new.states[done] - old.states[done] for old, new in known), minutes),
        versions=_rate(sum(new.number - old.number for old, new in pairs), minutes),
    )


def _rate(count: int, minutes: float) -> float:
    # What a rollback or a rebuilt ledger takes back has not been done at a negative speed.
    return max(count, 0) / minutes


def lag_s(made_at: str, began_at: Sequence[str]) -> float | None:
    """Give how long the oldest of a version's runs had waited when the version was made."""
    if not began_at:
        return None
    return age_s(min(began_at), from_iso(made_at))
