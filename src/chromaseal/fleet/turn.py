"""Collections -> the next version of each whose lease could be had; the others' holders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from chromaseal.compaction.outcome import Compaction
from chromaseal.errors import Conflict, Interrupted
from chromaseal.fleet.lease_keeper import LeaseKeeper
from chromaseal.fleet.room import LeftS, room_for
from chromaseal.run.lease import Lease, Leases
from chromaseal.run.owner import shown_owner
from chromaseal.vault import CollectionProgress, Vault

IsOver = Callable[[], bool]
Work = Callable[[IsOver], float | None]


@dataclass(frozen=True, slots=True)
class Terms:
    """How turns are taken.

    Attributes:
        owner: who takes them; unique among all that ever ask.
        lease_s: how long others wait if this process dies.
        is_gone: whether an owner is known to have died; where nobody knows, it has not.
        left_s: how long the work may go on, where that has an end that is known.
    """

    owner: str
    lease_s: float
    is_gone: Callable[[str], bool] = lambda _: False
    left_s: LeftS | None = None


@dataclass(frozen=True, slots=True)
class Turns:
    """What became of several collections.

    Attributes:
        done: what was compacted.
        left: whose turn it is where it is another's; None where that has just ended.
        more: of which collections there was no room or time for all that waited.
    """

    done: tuple[Compaction, ...] = ()
    left: Mapping[str, Lease | None] = field(default_factory=dict)
    more: frozenset[str] = frozenset()


def compact_in_turn(
    vault: Vault,
    collections: Sequence[str],
    terms: Terms,
    *,
    progress: CollectionProgress | None = None,
    is_over: IsOver = lambda: False,
) -> Turns:
    """Compact the collections that nobody else is at work on, as far as room and time allow.

    Args:
        vault: whose.
        collections: which ones; none for none.
        terms: how.
        progress: called with collection, step, and how much of it is done, of how much.
        is_over: asked between steps and as they go on; True gives the runs back.

    Raises:
        Unavailable: ``disk-full``.
        Conflict: ``lease-lost``; the runs wait, or are in another's version.
        Interrupted: ``interrupted``, it was over; the runs wait.
        ChromasealError: see ``Vault.compact``.
    """
    parts = vault.parts
    with ExitStack() as held:
        keepers = {name: held.enter_context(_keeper(vault, name, terms)) for name in collections}
        mine = [name for name in collections if keepers[name].held]
        left = {n: parts.leases.holder(n) for n in collections if n not in mine}
        if not mine:
            return Turns(left=left)

        def go_on(name: str, step: str, done: int, total: int) -> None:
            if is_over():
                raise Interrupted(
                    f"the compaction of {name} was ended before it was done; its runs wait on",
                    hint="run it again",
                )
            if keepers[name].lost.is_set():
                raise _lost(name)
            if progress is not None:
                progress(name, step, done, total)

        done = compact_portions(vault, mine, terms, progress=go_on)
        return Turns(done.done, left, done.more)


def compact_portions(
    vault: Vault,
    collections: Sequence[str],
    terms: Terms,
    *,
    progress: CollectionProgress | None = None,
) -> Turns:
    """Compact collections as far as room and time allow, whoever else is at work on them.

    Raises:
        Unavailable: ``disk-full``.
        ChromasealError: see ``Vault.compact``.
    """

    def wait() -> None:
        if progress is not None:
            for name in collections:
                progress(name, "wait for room", 0, 0)

    # Working copies that stay open save time only.
    give_room = vault.give_room
    with room_for(vault.parts, collections, terms.left_s, give_room=give_room, wait=wait) as chosen:
        done = vault.compact(collections, portions=chosen, progress=progress)
    more = frozenset(name for name, each in chosen.items() if each.runs is not None)
    return Turns(tuple(done), more=more)


def holder_of(collection: str, lease: Lease | None) -> str:
    """Say for people whose turn it is."""
    return whose_turn(collection, "compacted", lease)


def whose_turn(what: str, done: str, lease: Lease | None) -> str:
    """Say for people what is being done with something, and who does it."""
    if lease is None:
        return f"{what} was being {done} by another process until just now"
    who, left_s = shown_owner(lease.owner), max(lease.expires_in_s, 0.0)
    return f"{what} is being {done} by {who}, whose lease has {left_s:.0f} s left"


def _keeper(vault: Vault, collection: str, terms: Terms) -> LeaseKeeper:
    parts = vault.parts
    _take_from_the_dead(parts.leases, collection, terms.is_gone)
    return LeaseKeeper(
        parts.leases, collection, terms.owner, duration_s=terms.lease_s, clock=parts.clock
    )


def _take_from_the_dead(leases: Leases, collection: str, is_gone: Callable[[str], bool]) -> None:
    """Whoever repeats a command that was killed need not wait until its lease is over."""
    held = leases.holder(collection)
    if held is not None and is_gone(held.owner):
        leases.release(held)


def _lost(collection: str) -> Conflict:
    return Conflict(
        f"the lease of {collection} went to another process, or could not be renewed in time",
        kind="lease-lost",
        hint="nothing was lost: the runs are in a version already, or wait for the next one",
    )


def one_at_a_time(
    vault: Vault,
    name: str,
    terms: Terms,
    work: Work,
    *,
    left: Callable[[Lease | None], None] = lambda _: None,
) -> Work:
    """Give work beside the collections that one process of the fleet does at a time.

    Args:
        vault: whose leases.
        name: of the lease; one that no collection can have.
        terms: how.
        work: ends early when what it is given says that it is over.
        left: called with the lease of another process that is at it.
    """

    def run(is_over: IsOver) -> float | None:
        with _keeper(vault, name, terms) as keeper:
            if not keeper.held:
                left(vault.parts.leases.holder(name))
                return None
            return work(lambda: is_over() or keeper.lost.is_set())

    return run
