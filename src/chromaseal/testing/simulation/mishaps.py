"""What goes wrong with one operation, and how often: drawn anew for every episode.

Covered, at any operation of store, ledger and child process: no answer and nothing done; a reply
that is lost, also as the refusal that a client's silent retry meets; a write that lands only after
its writer has looked; a write that is delivered twice; an actor that stands still for long, before
or after the operation; the death of its process, with everything that it left on its machine; the
loss of the machine; a ledger that acknowledges a row and has lost it; a child process that dies
halfway through a merge. Where functions are played, also: a transaction of which half was
throttled; a conditional write that is refused because it has landed; an iterator of a stream that
has expired.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum


class Mishap(StrEnum):
    """What goes wrong with one operation."""

    NO_ANSWER = "no-answer"
    LOST_REPLY = "lost-reply"
    FALSE_REFUSAL = "false-refusal"
    LANDS_LATE = "lands-late"
    LANDS_TWICE = "lands-twice"
    STALL_BEFORE = "stall-before"
    STALL_AFTER = "stall-after"
    CRASH_BEFORE = "crash-before"
    CRASH_AFTER = "crash-after"
    MACHINE_LOST = "machine-lost"
    LOST_ROW = "lost-row"
    CHILD_DIED = "child-died"
    THROTTLED = "throttled"
    CONDITION_FAILED = "condition-failed"
    ITERATOR_EXPIRED = "iterator-expired"


CRASHES = frozenset({Mishap.CRASH_BEFORE, Mishap.CRASH_AFTER, Mishap.MACHINE_LOST})
# What a table, its stream and its queues do; nobody else's stores and ledgers.
OF_FUNCTIONS = frozenset({Mishap.THROTTLED, Mishap.CONDITION_FAILED, Mishap.ITERATOR_EXPIRED})
_ANYWHERE = (
    Mishap.STALL_BEFORE,
    Mishap.STALL_AFTER,
    Mishap.CRASH_BEFORE,
    Mishap.CRASH_AFTER,
    Mishap.MACHINE_LOST,
)
_ASKED = (*_ANYWHERE, Mishap.NO_ANSWER)
_WRITTEN = (*_ASKED, Mishap.LOST_REPLY, Mishap.LANDS_LATE, Mishap.LANDS_TWICE)
STRIKES: dict[str, tuple[Mishap, ...]] = {
    **dict.fromkeys(("create", "replace"), (*_WRITTEN, Mishap.FALSE_REFUSAL)),
    # The one name that is used again is a tag's, so a late removal could take another tag.
    "delete": (*_ASKED, Mishap.LOST_REPLY),
    **dict.fromkeys(("get", "get_range", "head", "list", "look up", "waiting"), _ASKED),
    "add": (*_WRITTEN, Mishap.LOST_ROW, Mishap.CONDITION_FAILED),
    "move": (*_WRITTEN, Mishap.LOST_ROW, Mishap.THROTTLED),
    "lease": (*_WRITTEN, Mishap.CONDITION_FAILED),
    "stream": (*_ASKED, Mishap.ITERATOR_EXPIRED),
    "send": _WRITTEN,
    "receive": (*_ASKED, Mishap.LOST_REPLY),
    "settle": (*_ASKED, Mishap.LOST_REPLY, Mishap.LANDS_LATE),
    "child": (*_ANYWHERE, Mishap.CHILD_DIED),
}
_RATES = (0.002, 0.005, 0.015)
# A death costs the work of many steps, so that too many of them leave nothing to be found.
_RARE = 0.2
_LIKELIHOOD = 0.6
# Few operations are a table's or a stream's.
_OFTEN = 5


class Dice:
    """Draws what goes wrong, and counts it.

    Args:
        chance: where from.
        kinds: what may go wrong at all.

    Attributes:
        fired: how often what happened.
        is_fair: whether nothing goes wrong any more.
    """

    def __init__(self, chance: random.Random, kinds: Iterable[Mishap] = Mishap) -> None:
        self._chance = chance
        self.fired: Counter[Mishap] = Counter()
        self.is_fair = False
        rates = {}
        # Of its own, so that episodes without functions are the same whatever functions meet.
        apart = random.Random(f"{chance.getstate()[1][:2]}")
        for kind in Mishap:
            source = apart if kind in OF_FUNCTIONS else chance
            likely, rate = source.random() < _LIKELIHOOD, source.choice(_RATES)
            weight = _RARE if kind in CRASHES else _OFTEN if kind in OF_FUNCTIONS else 1
            if likely and kind in kinds:
                rates[kind] = rate * weight
        self._rates = {
            operation: [(kind, rates[kind]) for kind in strikes if kind in rates]
            for operation, strikes in STRIKES.items()
        }
        self._sums = {name: sum(rate for _, rate in each) for name, each in self._rates.items()}

    def draw(self, operation: str) -> Mishap | None:
        """Say what goes wrong with an operation."""
        if self.is_fair:
            return None
        drawn = self._chance.random()
        if drawn >= self._sums[operation]:
            return None
        for kind, rate in self._rates[operation]:
            drawn -= rate
            if drawn < 0:
                self.fired[kind] += 1
                return kind
        return None
