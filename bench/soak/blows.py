"""Seed -> who is hit next, how, and when; decides, touches nothing."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

# How many times a lease a stopped process sleeps.
_SHORTEST_SLEEP = 1.5
_LONGEST_SLEEP = 3.0
_LONGEST_ABSENCE_S = 2.0
_AIMED = 0.7


class Deed(StrEnum):
    """What is done to somebody."""

    KILL = "kill"
    STOP = "stop"
    RESTART = "restart"
    RIVAL = "rival"


class Role(StrEnum):
    """Who is there."""

    WRITER = "writer"
    COMPACTOR = "compactor"
    FOLLOWER = "follower"
    STORE = "store"
    LEDGER = "ledger"


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the things that can happen.

    Attributes:
        deed: SIGKILL and a new start; SIGSTOP for longer than a lease; a restart; or, of
            compactors, a compaction that asks for no lease, beside whoever has it.
        role: to whom.
    """

    deed: Deed
    role: Role

    def __str__(self) -> str:
        return f"{self.deed} {self.role}"


# How often each comes in a deck.
_DECK = {
    Kind(Deed.KILL, Role.WRITER): 2,
    Kind(Deed.KILL, Role.COMPACTOR): 3,
    Kind(Deed.KILL, Role.FOLLOWER): 1,
    Kind(Deed.STOP, Role.WRITER): 1,
    Kind(Deed.STOP, Role.COMPACTOR): 3,
    Kind(Deed.STOP, Role.FOLLOWER): 1,
    Kind(Deed.RESTART, Role.STORE): 1,
    Kind(Deed.RESTART, Role.LEDGER): 1,
    Kind(Deed.RIVAL, Role.COMPACTOR): 1,
}
KINDS = tuple(_DECK)


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing that happens.

    Attributes:
        kind: what, and to whom.
        after_s: seconds since the one before.
        lasts_s: how long the one that is hit is away.
        draw: from 0 up to 1, which one it is.
        aimed: whether it is to be one that is at work.
        clean: whether a server is ended as an administrator does, not as a crash does.
    """

    kind: Kind
    after_s: float
    lasts_s: float
    draw: float
    aimed: bool
    clean: bool


def blows(seed: int, *, every_s: float, lease_s: float) -> Iterator[Blow]:
    """Give what happens, without end: each kind once, then the rest of a deck, and so on.

    Args:
        seed: decides everything.
        every_s: from one to the next, give or take four tenths.
        lease_s: how long others wait for a compactor that is silent.
    """
    chance = np.random.default_rng(seed)
    for kind in _kinds(chance):
        sleep_s = lease_s * chance.uniform(_SHORTEST_SLEEP, _LONGEST_SLEEP)
        absence_s = chance.uniform(0, _LONGEST_ABSENCE_S)
        yield Blow(
            kind,
            after_s=every_s * chance.uniform(0.6, 1.4),
            lasts_s=sleep_s if kind.deed is Deed.STOP else absence_s,
            draw=chance.random(),
            aimed=bool(chance.random() < _AIMED),
            clean=bool(chance.random() < 0.5),
        )


def _kinds(chance: np.random.Generator) -> Iterator[Kind]:
    rest = [kind for kind, times in _DECK.items() for _ in range(times - 1)]
    for part in itertools.cycle((list(KINDS), rest)):
        yield from (part[place] for place in chance.permutation(len(part)))


def target(blow: Blow, standing: Sequence[str], busy: Collection[str]) -> str | None:
    """Give who is hit; None where nobody stands.

    Args:
        blow: what happens.
        standing: the names of those of the role that are neither dead nor stopped.
        busy: the names of those that are at work.
    """
    found = [name for name in standing if name in busy] if blow.aimed else []
    found = found or list(standing)
    return found[int(blow.draw * len(found))] if found else None
