"""DynamoDB that throttles, cancels and loses replies: nothing is lost, nothing counts twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from chromaseal.adapters.dynamodb.ledger import DynamoLedger
from chromaseal.adapters.dynamodb.place import parse
from chromaseal.adapters.dynamodb.table import Table, connect
from chromaseal.errors import Unavailable
from chromaseal.ids import SystemIds
from chromaseal.run.model import RunState
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.dynamodb import FaultyClient, TableFault
from chromaseal.testing.ledger_contract import NOW, pending_run

WAITS = [RunState.PENDING, RunState.MERGING]
RUNS = [f"r{number}" for number in range(3)]
# Of a whole story there are fewer requests, so one more fault than that does not fire.
MOST = 60
# What has done nothing may strike here and there; what has landed strikes everywhere.
STEPS = {TableFault.THROTTLED: 6, TableFault.NO_ANSWER: 6, TableFault.PARTLY: 3}


@pytest.fixture
def client(dynamodb_url: str) -> Iterator[FaultyClient]:
    """Give a client that fails as planned."""
    with closing(FaultyClient(connect(parse(dynamodb_url)))) as client:
        yield client


@pytest.fixture
def opened(client: FaultyClient, dynamodb_url: str) -> Callable[[], DynamoLedger]:
    """Give what opens the ledger, with waits that take no time."""
    place = parse(dynamodb_url)
    return lambda: DynamoLedger(Table(place, client, clock=ManualClock(), ids=SystemIds()))


def story(ledger: DynamoLedger, name: str) -> None:
    """Do everything that a ledger is asked for, and check every answer."""
    ledger.bind("vault-a")
    ids = [f"{name}-{run_id}" for run_id in RUNS]
    before = Counter(ledger.counts("lines"))
    assert [ledger.add(pending_run(run_id)) for run_id in ids] == [True] * 3
    assert not ledger.add(pending_run(ids[0]))
    lease = ledger.acquire("lines", name, duration_s=60)
    assert lease is not None
    assert ledger.move(ids, "lines", states=WAITS, to=RunState.MERGING, at=NOW) == 3
    assert ledger.renew(lease, duration_s=60)
    assert ledger.move(ids[:2], "lines", states=WAITS, to=RunState.COMPLETED, at=NOW) == 2
    assert ledger.move(ids, "lines", states=WAITS, to=RunState.FAILED, at=NOW, error="why") == 1
    ledger.release(lease)
    assert ledger.holder("lines") is None
    runs = [ledger.get(run_id) for run_id in ids]
    assert [run.parts["lines"].attempts for run in runs if run is not None] == [1, 1, 1]
    assert [run.run_id for run in ledger.find("image_id", ids[2])] == [ids[2]]
    assert ledger.waiting("lines") == []
    after = Counter(ledger.counts("lines"))
    assert after - before == {RunState.COMPLETED: 2, RunState.FAILED: 1}


@pytest.mark.slow
@pytest.mark.parametrize("fault", [each for each in TableFault if each != TableFault.UNSEEN])
def test_a_fault_at_any_request_changes_no_answer(
    fault: TableFault, client: FaultyClient, opened: Callable[[], DynamoLedger]
) -> None:
    """The same answers and the same table, wherever it strikes; and it does strike."""
    for fired, after in enumerate(range(0, MOST, STEPS.get(fault, 1))):
        assert len(client.fired) == fired
        client.plan(fault, after=after)
        story(opened(), f"n{after}")
        if len(client.fired) == fired:
            break
    assert 0 < len(client.fired) == fired
    assert {each.fault for each in client.fired} == {fault}


def test_faults_follow_each_other(client: FaultyClient, opened: Callable[[], DynamoLedger]) -> None:
    """A lost reply, and throttled when it is asked again, and then another lost reply."""
    ledger = opened()
    ledger.add(pending_run("a"))
    for fault in (TableFault.LOST_REPLY, TableFault.CONFLICT, TableFault.SERVER_ERROR):
        client.plan(fault)
    assert ledger.move(["a"], "lines", states=WAITS, to=RunState.COMPLETED, at=NOW) == 1
    assert len(client.fired) == 3
    assert ledger.counts("lines")[RunState.COMPLETED] == 1


@pytest.mark.parametrize("fault", [TableFault.THROTTLED, TableFault.NO_ANSWER])
def test_who_is_never_answered_is_told(
    fault: TableFault, client: FaultyClient, opened: Callable[[], DynamoLedger]
) -> None:
    """After so many tries, each later than the one before, with why; and the next call works."""
    ledger = opened()
    ledger.add(pending_run("a"))
    client.plan(fault, times=8)
    with pytest.raises(Unavailable) as caught:
        ledger.move(["a"], "lines", states=WAITS, to=RunState.MERGING, at=NOW)
    assert caught.value.kind == "ledger-unavailable"
    assert len(client.fired) == 8
    assert ledger.move(["a"], "lines", states=WAITS, to=RunState.MERGING, at=NOW) == 1


def test_a_run_that_is_just_being_added_is_not_added_again(
    client: FaultyClient, opened: Callable[[], DynamoLedger]
) -> None:
    """Its id may be seen before the run itself is, which is no reason to take it for deleted."""
    one, other = opened(), opened()
    one.add(pending_run("a"))
    one.move(["a"], "lines", states=WAITS, to=RunState.COMPLETED, at=NOW)
    client.plan(TableFault.UNSEEN, after=1)
    assert not other.add(pending_run("a"))
    assert len(client.fired) == 1
    run = one.get("a")
    assert run is not None
    assert run.parts["lines"].state is RunState.COMPLETED
    assert sum(one.counts("lines").values()) == 1


def test_another_who_was_first_is_told_from_oneself(
    client: FaultyClient, opened: Callable[[], DynamoLedger]
) -> None:
    """A refusal may be of one's own write or of another's: the item says whose it was."""
    one, other = opened(), opened()
    assert one.add(pending_run("a"))
    client.plan(TableFault.FALSE_REFUSAL)
    assert not other.add(pending_run("a"))
    client.plan(TableFault.FALSE_REFUSAL)
    assert other.add(pending_run("b"))
    assert len(client.fired) == 2
    lease = one.acquire("lines", "one", duration_s=60)
    assert lease is not None
    client.plan(TableFault.FALSE_REFUSAL)
    assert other.acquire("words", "other", duration_s=60) is not None
    assert other.acquire("lines", "other", duration_s=60) is None
