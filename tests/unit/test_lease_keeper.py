"""A lease is kept while its block lasts, and its loss is noticed in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from chromaseal.adapters.sqlalchemy.ledger import SqlLedger
from chromaseal.adapters.sqlalchemy.sqlite import SqliteDatabase
from chromaseal.clock import SystemClock
from chromaseal.errors import Unavailable
from chromaseal.fleet.lease_keeper import LeaseKeeper
from chromaseal.run.lease import Lease, Leases
from chromaseal.testing.clock import ManualClock

NAME = "notes"
# So long that the thread, which waits in real time, does nothing in a test.
LONG_S = 3600.0
PATIENCE_S = 30.0


class Moody:
    """Leases that do not answer when a test says so, or take their time to."""

    def __init__(self, inner: Leases, clock: ManualClock) -> None:
        self.inner = inner
        self.clock = clock
        self.silent = False
        self.takes_s = 0.0
        self.renewals = 0
        self.renewed = threading.Event()

    def acquire(self, collection: str, owner: str, *, duration_s: float) -> Lease | None:
        """Take one."""
        lease = self.inner.acquire(collection, owner, duration_s=duration_s)
        self.clock.sleep(self.takes_s)
        return lease

    def renew(self, lease: Lease, *, duration_s: float) -> bool:
        """Extend one, or do not answer."""
        self.renewals += 1
        self.renewed.set()
        if self.silent:
            raise Unavailable("no answer", kind="ledger-unavailable")
        return self.inner.renew(lease, duration_s=duration_s)

    def release(self, lease: Lease) -> None:
        """Give one back, or do not answer."""
        if self.silent:
            raise Unavailable("no answer", kind="ledger-unavailable")
        self.inner.release(lease)

    def holder(self, collection: str) -> Lease | None:
        """Give whose it is."""
        return self.inner.holder(collection)


@pytest.fixture
def clock() -> ManualClock:
    """Give the clock of the leases and of those who keep them."""
    return ManualClock()


@pytest.fixture
def leases(clock: ManualClock) -> Iterator[Moody]:
    """Give leases of which none is held."""
    with closing(SqlLedger(SqliteDatabase(None, clock=clock))) as ledger:
        yield Moody(ledger, clock)


def keeper_of(leases: Moody, owner: str = "me") -> LeaseKeeper:
    """Give a keeper of a long lease."""
    return LeaseKeeper(leases, NAME, owner, duration_s=LONG_S, clock=leases.clock)


def test_it_is_held_in_the_block_and_given_back(leases: Moody) -> None:
    """Afterwards it is anybody's, at once."""
    with keeper_of(leases) as keeper:
        assert keeper.held
        held = leases.holder(NAME)
        assert held is not None
        assert held.owner == "me"
        with keeper_of(leases, "you") as other:
            assert not other.held
            assert other.lease is None
    assert leases.holder(NAME) is None
    with keeper_of(leases, "you") as other:
        assert other.held


def test_it_is_given_back_after_an_error_too(leases: Moody) -> None:
    """And the error is the block's own."""
    with pytest.raises(ZeroDivisionError), keeper_of(leases):
        _ = 1 / 0
    assert leases.holder(NAME) is None


def test_it_is_renewed_after_a_third(leases: Moody) -> None:
    """Not earlier, and from then on for the whole time."""
    with keeper_of(leases) as keeper:
        leases.clock.sleep(LONG_S / 3 - 1)
        assert 0 < keeper.beat() <= 1
        assert leases.renewals == 0
        leases.clock.sleep(1)
        keeper.beat()
        assert leases.renewals == 1
        held = leases.holder(NAME)
        assert held is not None
        assert held.expires_in_s == LONG_S
        assert LONG_S / 3 - 1 < keeper.beat() <= LONG_S / 3


def test_the_time_is_counted_from_before_asking(leases: Moody) -> None:
    """A ledger that takes long to answer leaves less of the lease than it says."""
    leases.takes_s = LONG_S * 0.9
    leases.silent = True
    with keeper_of(leases) as keeper:
        keeper.beat()
        assert keeper.held
        leases.clock.sleep(LONG_S * 0.11)
        keeper.beat()
        assert not keeper.held


def test_a_ledger_that_does_not_answer_is_asked_until_the_time_is_over(leases: Moody) -> None:
    """Nobody can have the lease before; afterwards anybody can."""
    with keeper_of(leases) as keeper:
        leases.silent = True
        for _ in range(9):
            leases.clock.sleep(LONG_S / 10)
            keeper.beat()
            assert keeper.held
        assert leases.renewals == 6
        leases.clock.sleep(LONG_S / 10)
        keeper.beat()
        assert not keeper.held
        assert keeper.lost.is_set()


def test_a_ledger_that_answers_again_in_time_is_well(leases: Moody) -> None:
    """A short silence costs nothing."""
    with keeper_of(leases) as keeper:
        leases.silent = True
        leases.clock.sleep(LONG_S / 2)
        keeper.beat()
        leases.silent = False
        leases.clock.sleep(LONG_S / 4)
        keeper.beat()
        leases.clock.sleep(LONG_S / 3 * 2)
        keeper.beat()
        assert keeper.held


def test_who_slept_for_longer_than_the_lease_finds_out(leases: Moody) -> None:
    """Somebody else has it: the work is over, and theirs is not given back."""
    with keeper_of(leases) as keeper:
        leases.clock.sleep(LONG_S + 1)
        with keeper_of(leases, "you") as other:
            assert other.held
            keeper.beat()
            assert keeper.lost.is_set()
            assert not keeper.held
            assert keeper.beat() == LONG_S
            keeper.__exit__(None, None, None)
            held = leases.holder(NAME)
            assert held is not None
            assert held.owner == "you"


def test_who_slept_goes_on_where_nobody_took_over(leases: Moody) -> None:
    """Asking tells: what nobody wanted is not thrown away."""
    with keeper_of(leases) as keeper:
        leases.clock.sleep(LONG_S * 2)
        keeper.beat()
        assert keeper.held
        assert leases.inner.acquire(NAME, "you", duration_s=1) is None


def test_a_ledger_that_is_gone_at_the_end_is_no_error(leases: Moody) -> None:
    """The lease ends by itself."""
    with keeper_of(leases):
        leases.silent = True
    assert leases.inner.holder(NAME) is not None


def test_a_thread_renews(clock: ManualClock) -> None:
    """Without anybody's doing, as real time passes; it ends with the block."""
    with closing(SqlLedger(SqliteDatabase(None))) as ledger:
        leases = Moody(ledger, clock)
        with LeaseKeeper(leases, NAME, "me", duration_s=0.3, clock=SystemClock()) as keeper:
            for _ in range(3):
                assert leases.renewed.wait(PATIENCE_S)
                leases.renewed.clear()
            assert keeper.lease is not None
        assert not [t for t in threading.enumerate() if t.name == f"lease of {NAME}"]
