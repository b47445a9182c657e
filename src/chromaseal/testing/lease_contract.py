"""What every keeper of leases promises; inherit it and give a ``leases`` fixture."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from chromaseal.run.lease import Lease, Leases

LONG_S = 3600.0
NAME = "lines"


class LeaseContract:
    """Tests for one implementation.

    Attributes:
        CONTENDERS: who ask at once.
        ROUNDS: how often.
    """

    CONTENDERS = 16
    ROUNDS = 10

    @pytest.fixture
    def leases(self) -> Leases:
        """Give the leases under test, none of them held."""
        raise NotImplementedError

    @pytest.fixture
    def others(self, leases: Leases) -> list[Leases]:
        """Give the same leases through other connections, where there can be any."""
        return [leases]

    @pytest.fixture
    def pass_time(self) -> Callable[[float], None]:
        """Give what lets a number of seconds pass on the clock that the leases go by."""
        raise NotImplementedError

    def test_one_holds_it(self, leases: Leases) -> None:
        """While a lease has not expired nobody else gets it, and everybody can see whose it is."""
        assert leases.holder(NAME) is None
        mine = taken(leases, "me")
        assert (mine.collection, mine.owner, mine.epoch) == (NAME, "me", 1)
        assert 0 < mine.expires_in_s <= LONG_S
        assert leases.acquire(NAME, "you", duration_s=LONG_S) is None
        held = leases.holder(NAME)
        assert held is not None
        assert (held.owner, held.epoch) == ("me", 1)
        assert LONG_S - 60 < held.expires_in_s <= LONG_S

    def test_collections_have_nothing_to_do_with_each_other(self, leases: Leases) -> None:
        """A lease is for one collection."""
        taken(leases, "me")
        words = leases.acquire("words", "you", duration_s=LONG_S)
        assert words is not None
        assert words.epoch == 1

    def test_asking_again_extends(self, leases: Leases, pass_time: Callable[[float], None]) -> None:
        """Who has it and asks again keeps the epoch and gets the whole time from then on."""
        first = leases.acquire(NAME, "me", duration_s=0.5)
        assert first is not None
        assert taken(leases, "me").epoch == first.epoch
        pass_time(0.6)
        assert leases.acquire(NAME, "you", duration_s=LONG_S) is None

    def test_an_expired_lease_is_anybodys(
        self, leases: Leases, pass_time: Callable[[float], None]
    ) -> None:
        """After its time the next one gets it, with the next epoch."""
        assert leases.acquire(NAME, "me", duration_s=0.1) is not None
        pass_time(0.2)
        assert leases.holder(NAME) is None
        assert taken(leases, "you").epoch == 2

    def test_renewing_extends(self, leases: Leases, pass_time: Callable[[float], None]) -> None:
        """A renewed lease lasts from its renewal on."""
        mine = leases.acquire(NAME, "me", duration_s=0.5)
        assert mine is not None
        assert leases.renew(mine, duration_s=LONG_S)
        pass_time(0.6)
        assert leases.acquire(NAME, "you", duration_s=LONG_S) is None

    def test_a_stalled_holder_has_lost_it(
        self, leases: Leases, pass_time: Callable[[float], None]
    ) -> None:
        """Who wakes up after somebody else took over can neither renew nor release it."""
        mine = leases.acquire(NAME, "me", duration_s=0.1)
        assert mine is not None
        pass_time(0.2)
        yours = taken(leases, "you")
        assert not leases.renew(mine, duration_s=LONG_S)
        leases.release(mine)
        held = leases.holder(NAME)
        assert held is not None
        assert (held.owner, held.epoch) == ("you", yours.epoch)
        assert leases.renew(yours, duration_s=LONG_S)

    def test_an_earlier_turn_of_the_same_owner_is_over(self, leases: Leases) -> None:
        """The owner's name is not enough: a released lease is not renewed by the next one's."""
        first = taken(leases, "me")
        leases.release(first)
        again = taken(leases, "me")
        assert again.epoch == first.epoch + 1
        assert not leases.renew(first, duration_s=LONG_S)
        leases.release(first)
        assert leases.holder(NAME) is not None

    def test_a_released_lease_is_anybodys(self, leases: Leases) -> None:
        """It goes at once, whatever time was left; its epoch is never given again."""
        mine = taken(leases, "me")
        leases.release(mine)
        assert leases.holder(NAME) is None
        assert not leases.renew(mine, duration_s=LONG_S)
        yours = taken(leases, "you")
        leases.release(mine)
        assert yours.epoch == mine.epoch + 1
        assert leases.holder(NAME) is not None

    def test_nothing_is_renewed_that_was_never_given(self, leases: Leases) -> None:
        """A lease that somebody made up is none."""
        made_up = Lease(NAME, "me", 1, LONG_S)
        assert not leases.renew(made_up, duration_s=LONG_S)
        leases.release(made_up)
        assert leases.holder(NAME) is None

    def test_one_of_many_gets_it(self, leases: Leases, others: list[Leases]) -> None:
        """In every round exactly one contender wins, and no epoch comes twice."""
        epochs = [contend(leases, others, self.CONTENDERS, turn) for turn in range(self.ROUNDS)]
        assert epochs == list(range(1, self.ROUNDS + 1))


def taken(leases: Leases, owner: str) -> Lease:
    """Take a lease that must be free."""
    lease = leases.acquire(NAME, owner, duration_s=LONG_S)
    assert lease is not None
    return lease


def contend(leases: Leases, others: list[Leases], contenders: int, turn: int) -> int:
    """Let contenders ask at once, check that one got it, and give its epoch."""
    gate = threading.Barrier(contenders)

    def ask(asked: tuple[int, Leases]) -> Lease | None:
        number, through = asked
        gate.wait()
        return through.acquire(NAME, f"{turn}-{number}", duration_s=LONG_S)

    with ThreadPoolExecutor(contenders) as pool:
        asking = zip(range(contenders), itertools.cycle(others), strict=False)
        won = [lease for lease in pool.map(ask, asking) if lease is not None]
    assert len(won) == 1
    held = leases.holder(NAME)
    assert held is not None
    assert (held.owner, held.epoch) == (won[0].owner, won[0].epoch)
    leases.release(won[0])
    return won[0].epoch
