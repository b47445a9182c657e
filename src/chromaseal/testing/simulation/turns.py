"""Leases in a simulation: every operation is drawn, and they are renewed without a thread."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from chromaseal.clock import Clock
from chromaseal.fleet.lease_keeper import LeaseKeeper
from chromaseal.run.lease import Lease, Leases
from chromaseal.testing.simulation import invariants
from chromaseal.testing.simulation.mishaps import Mishap
from chromaseal.testing.simulation.scheduler import Scheduler

_TICK_S = 1e-5


class Turns:
    """Looks at every turn that is given, extended or given back.

    Args:
        check: asks whether an invariant holds.
        seen: counts.
    """

    def __init__(self, check: Callable[..., None], seen: Counter[str]) -> None:
        self._check = check
        self._seen = seen
        self._turns: dict[str, tuple[tuple[str, int], float]] = {}

    def leased(self, lease: Lease, now_s: float) -> None:
        """See that an owner has a collection, and for how long."""
        self._seen["turn"] += 1
        turn = (lease.owner, lease.epoch)
        before, until_s = self._turns.get(lease.collection, (("", 0), 0.0))
        # The ledger counts in microseconds.
        is_over = until_s <= now_s + _TICK_S
        held = functools.partial(invariants.turns_do_not_overlap, is_over=is_over)
        self._check(held, lease.collection, turn, before)
        self._turns[lease.collection] = (turn, now_s + lease.expires_in_s)

    def released(self, lease: Lease) -> None:
        """See that an owner has given a collection back."""
        turn, _ = self._turns.get(lease.collection, (("", 0), 0.0))
        if turn == (lease.owner, lease.epoch):
            self._turns[lease.collection] = (("", lease.epoch), 0.0)


class SimulatedLeases:
    """Leases whose every operation is drawn.

    Args:
        inner: where the leases are.
        scheduler: draws, and has the time.
        witness: looks at what was given.
    """

    def __init__(self, inner: Leases, scheduler: Scheduler, witness: Turns) -> None:
        self._inner = inner
        self._scheduler = scheduler
        self._witness = witness

    def acquire(self, collection: str, owner: str, *, duration_s: float) -> Lease | None:
        """Take a collection that nobody has."""

        def act() -> Lease | None:
            lease = self._inner.acquire(collection, owner, duration_s=duration_s)
            if lease is not None:
                self._witness.leased(lease, self._scheduler.now_s)
            return lease

        def refused() -> Lease | None:
            act()
            return None

        instead = {Mishap.CONDITION_FAILED: refused}
        return self._scheduler.ask("lease", f"{collection} for {owner}", act, instead)

    def renew(self, lease: Lease, *, duration_s: float) -> bool:
        """Extend a lease."""

        def act() -> bool:
            is_mine = self._inner.renew(lease, duration_s=duration_s)
            if is_mine:
                now = replace(lease, expires_in_s=duration_s)
                self._witness.leased(now, self._scheduler.now_s)
            return is_mine

        def refused() -> bool:
            act()
            return False

        instead = {Mishap.CONDITION_FAILED: refused}
        what = f"{lease.collection} on for {lease.owner}"
        return self._scheduler.ask("lease", what, act, instead)

    def release(self, lease: Lease) -> None:
        """Give a lease back."""

        def act() -> None:
            self._inner.release(lease)
            self._witness.released(lease)

        instead = {Mishap.CONDITION_FAILED: act}
        self._scheduler.ask("lease", f"{lease.collection} from {lease.owner}", act, instead)

    def holder(self, collection: str) -> Lease | None:
        """Tell who has a lease."""
        return self._scheduler.ask("look up", collection, lambda: self._inner.holder(collection))


class Hearts:
    """Stands for ``threading`` where leases are kept: whoever works renews its leases itself.

    A process that stands still renews nothing, as one whose threads are all stopped.

    Args:
        scheduler: knows who works.
    """

    Event = threading.Event
    Lock = threading.Lock

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._beating: dict[str, list[LeaseKeeper]] = {}

    def Thread(self, *, target: Callable[[], None], name: str) -> Heart:  # noqa: N802 - its name
        """Make what is started and joined like a thread."""
        del name
        keeper: LeaseKeeper = target.__self__  # type: ignore[attr-defined] # a bound method
        actor = self._scheduler.current
        return Heart(self._beating.setdefault(actor.name if actor else "", []), keeper)

    def beat(self, actor: str) -> None:
        """Renew the leases of an actor that are to be renewed by now."""
        for keeper in list(self._beating.get(actor, ())):
            keeper.beat()


class Heart:
    """A keeper's thread that is none."""

    def __init__(self, beating: list[LeaseKeeper], keeper: LeaseKeeper) -> None:
        self._beating = beating
        self._keeper = keeper

    def start(self) -> None:
        """Have the keeper's lease renewed from now on."""
        self._beating.append(self._keeper)

    def join(self) -> None:
        """Have it renewed no more."""
        self._beating.remove(self._keeper)


class MemoryLeases:
    """Leases in a dictionary, for most episodes: the product's take a millisecond for a question.

    Args:
        clock: decides when one has expired.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, tuple[str, int, float]] = {}

    def acquire(self, collection: str, owner: str, *, duration_s: float) -> Lease | None:
        """Take a collection that nobody has; extend the lease of whoever has it already."""
        had, epoch, until_s = self._held.get(collection, ("", 0, 0.0))
        now_s = self._clock.monotonic_s()
        if had != owner:
            if now_s < until_s:
                return None
            epoch += 1
        self._held[collection] = (owner, epoch, now_s + duration_s)
        return Lease(collection, owner, epoch, duration_s)

    def renew(self, lease: Lease, *, duration_s: float) -> bool:
        """Extend a lease from now on, if it is still the last one that was given."""
        return self._change(lease, lease.owner, self._clock.monotonic_s() + duration_s)

    def release(self, lease: Lease) -> None:
        """Give a lease back, if it is still the last one that was given."""
        self._change(lease, "", 0.0)

    def holder(self, collection: str) -> Lease | None:
        """Give the lease that has not expired."""
        owner, epoch, until_s = self._held.get(collection, ("", 0, 0.0))
        left_s = until_s - self._clock.monotonic_s()
        return Lease(collection, owner, epoch, left_s) if owner and left_s > 0 else None

    def _change(self, lease: Lease, owner: str, until_s: float) -> bool:
        held = self._held.get(lease.collection)
        if held is None or held[:2] != (lease.owner, lease.epoch):
            return False
        self._held[lease.collection] = (owner, lease.epoch, until_s)
        return True
