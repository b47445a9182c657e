"""What a store does not answer is asked again, told of, and given up in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from chromaseal import pools
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Conflict, NotFound, Unavailable
from chromaseal.object_store import ObjectInfo, ObjectStore
from chromaseal.retried_store import ATTEMPTS, NO_LATER_S, RetriedStore
from chromaseal.settle import put_once, swap
from chromaseal.telemetry.emit import observed
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.faults import Fault, FaultyStore
from chromaseal.testing.recording_observer import RecordingObserver
from chromaseal.testing.simulation.chance import SeededIds, chance_of

OPERATIONS: dict[str, Callable[[ObjectStore], object]] = {
    "create": lambda store: store.create("b", b"new"),
    "replace": lambda store: store.replace("a", b"new", etag=store.get("a").etag),
    "get": lambda store: store.get("a").body,
    "get_range": lambda store: store.get_range("a", start=1, length=2),
    "head": lambda store: store.head("a"),
    "list": lambda store: [*store.list("")],
    "delete": lambda store: store.delete("a"),
}


@pytest.fixture
def faulty() -> FaultyStore:
    """Give a store with one object that can be told to fail."""
    store = FaultyStore(ObstoreObjectStore("memory://"))
    store.create("a", b"there")
    return store


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that nobody waits for."""
    return ManualClock()


@pytest.fixture
def retried(faulty: FaultyStore, clock: ManualClock) -> RetriedStore:
    """Give the same store, retried."""
    return RetriedStore(faulty, clock=clock, ids=SeededIds(chance_of(1)))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_asked_again(
    faulty: FaultyStore, retried: RetriedStore, operation: str
) -> None:
    """Two silences in a row change nothing about the answer."""
    fresh = ObstoreObjectStore("memory://")
    fresh.create("a", b"there")
    expected = OPERATIONS[operation](fresh)
    for _ in range(2):
        faulty.plan(Fault.NO_ANSWER)
    assert OPERATIONS[operation](retried) == expected
    assert [each.fault for each in faulty.fired] == [Fault.NO_ANSWER] * 2
    assert sorted(info.key for info in faulty.inner.list("")) == [
        info.key for info in fresh.list("")
    ]


def test_each_time_is_told(faulty: FaultyStore, retried: RetriedStore, clock: ManualClock) -> None:
    """With what was asked, why, how often, and how long it waits."""
    for _ in range(3):
        faulty.plan(Fault.NO_ANSWER)
    observer = RecordingObserver()
    with observed(observer):
        retried.get("a")
    told = [each.facts for each in observer.events if each.name == "request retried"]
    assert [(each["operation"], each["key"], each["attempts"]) for each in told] == [
        ("get object", "a", number) for number in (1, 2, 3)
    ]
    waits = [float(str(each["waited_s"])) for each in told]
    assert waits == sorted(waits)
    assert sum(waits) == pytest.approx(clock.monotonic_s())


def test_it_ends(faulty: FaultyStore, retried: RetriedStore, clock: ManualClock) -> None:
    """A store that stays silent is given up after a bounded time, with its own error."""
    for _ in range(ATTEMPTS + 1):
        faulty.plan(Fault.NO_ANSWER)
    with pytest.raises(Unavailable, match="no answer for a"):
        retried.get("a")
    assert len(faulty.fired) == ATTEMPTS
    assert 10 < clock.monotonic_s() < 40


def test_a_store_that_keeps_its_callers_waiting_is_given_up_sooner(clock: ManualClock) -> None:
    """Where every silence lasts as long as a client waits, a few of them are enough."""
    asked: list[str] = []

    class Mute(ObstoreObjectStore):
        def head(self, key: str) -> ObjectInfo | None:
            asked.append(key)
            clock.sleep(NO_LATER_S * 0.6)
            raise Unavailable(f"no answer for {key}", kind="store-unavailable")

    with pytest.raises(Unavailable, match="no answer for a"):
        RetriedStore(Mute("memory://"), clock=clock, ids=SeededIds(chance_of(1))).head("a")
    assert asked == ["a", "a"]


def test_who_is_refused_does_not_ask_again(retried: RetriedStore, clock: ManualClock) -> None:
    """Wrong credentials are wrong the next time as well; nobody waits half a minute to hear it."""
    asked: list[str] = []

    def refuse() -> None:
        asked.append("a")
        raise Unavailable("no such credentials", kind="store-refuses")

    with pytest.raises(Unavailable, match="no such credentials"):
        retried.until_answered("get object", "a", refuse)
    assert asked == ["a"]
    assert clock.monotonic_s() == 0


def test_who_failed_together_does_not_ask_together() -> None:
    """A throttled bucket is not asked by a whole fleet in the same moment again."""
    waited_s = set()
    for seed in range(20):
        faulty, clock = FaultyStore(ObstoreObjectStore("memory://")), ManualClock()
        faulty.create("a", b"there")
        faulty.plan(Fault.NO_ANSWER)
        RetriedStore(faulty, clock=clock, ids=SeededIds(chance_of(seed))).get("a")
        waited_s.add(clock.monotonic_s())
    assert len(waited_s) == 20
    assert max(waited_s) > 1.5 * min(waited_s)


@pytest.mark.parametrize(("after_s", "requests"), [(0, 4), (10, ATTEMPTS + 2)])
def test_nobody_waits_after_ctrl_c(
    faulty: FaultyStore, clock: ManualClock, after_s: float, requests: int
) -> None:
    """An upload that waits for the store ends soon once its command is stopped, in a long wait."""
    for _ in range(2 * ATTEMPTS):
        faulty.plan(Fault.NO_ANSWER)
    waits, never = threading.Event(), threading.Event()

    class Waiting(ManualClock):
        def sleep(self, duration_s: float) -> None:
            clock.sleep(duration_s)
            if clock.monotonic_s() < after_s:
                return
            waits.set()
            any(pools.is_given_up() or never.wait(0.01) for _ in range(1_000))

    store = RetriedStore(faulty, clock=Waiting(), ids=SeededIds(chance_of(1)))

    def upload() -> None:
        with pools.pool(1) as pool:
            pool.submit(put_once, store, "b", b"mine")
            assert waits.wait(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload()
    assert clock.monotonic_s() < after_s + 1
    assert len(faulty.fired) <= requests


def test_answers_are_believed_at_once(retried: RetriedStore, clock: ManualClock) -> None:
    """What is not there, there already or changed is no silence."""
    with pytest.raises(NotFound):
        retried.get("nowhere")
    with pytest.raises(Conflict):
        retried.create("a", b"other")
    with pytest.raises(Conflict):
        retried.replace("a", b"other", etag="other")
    assert clock.monotonic_s() == 0


@pytest.mark.parametrize("lost", range(1, 4))
def test_a_write_that_meets_itself_has_landed(
    faulty: FaultyStore, retried: RetriedStore, lost: int
) -> None:
    """Replies to landed writes are lost; whoever settles it finds out, and nothing is twice."""
    faulty.plan(Fault.LOST_REPLY)
    for _ in range(lost - 1):
        faulty.plan(Fault.NO_ANSWER)
    put_once(retried, "b", b"mine")
    assert faulty.inner.get("b").body == b"mine"
    faulty.plan(Fault.LOST_REPLY)
    swap(retried, "a", b"mine", etag=faulty.inner.get("a").etag)
    assert faulty.inner.get("a").body == b"mine"


def test_a_lost_race_is_not_won_by_trying_again(faulty: FaultyStore, retried: RetriedStore) -> None:
    """Somebody was first while the store was silent."""
    seen = faulty.inner.get("a").etag
    faulty.plan(Fault.NO_ANSWER)
    faulty.inner.replace("a", b"theirs", etag=seen)
    with pytest.raises(Conflict):
        swap(retried, "a", b"mine", etag=seen)
    assert faulty.inner.get("a").body == b"theirs"
