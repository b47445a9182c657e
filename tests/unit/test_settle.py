"""Lost and false replies to conditional writes are settled by reading, never by guessing."""

from __future__ import annotations

import pytest

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Conflict, Unavailable
from chromaseal.settle import put_once, swap
from chromaseal.testing.faults import Fault, FaultyStore, SimulatedCrash

LANDED = (Fault.LOST_REPLY, Fault.FALSE_REFUSAL)


@pytest.fixture
def store() -> FaultyStore:
    """Give an empty store in memory that can be told to fail."""
    return FaultyStore(ObstoreObjectStore("memory://"))


def pointer(store: FaultyStore) -> bytes | None:
    """Give what is really stored under the pointer's key."""
    return store.inner.get("p").body if store.inner.head("p") else None


def begin(store: FaultyStore, body: bytes | None) -> str | None:
    """Let the pointer be ``body``; give its tag."""
    if body is None:
        return None
    store.inner.create("p", body)
    return store.inner.get("p").etag


# --- immutable objects -------------------------------------------------------------------------


def test_an_object_is_stored_once(store: FaultyStore) -> None:
    """The first put stores, a repeated one finds the same bytes, and neither is an error."""
    assert put_once(store, "p", b"mine")
    assert not put_once(store, "p", b"mine")
    assert put_once(store, "q", memoryview(b"mine"))
    assert not put_once(store, "q", memoryview(b"mine"))


def test_another_content_is_never_overwritten(store: FaultyStore) -> None:
    """A key that is taken by other bytes is refused and keeps them."""
    store.create("p", b"theirs")
    with pytest.raises(Conflict) as caught:
        put_once(store, "p", b"mine")
    assert caught.value.kind == "different-content"
    assert pointer(store) == b"theirs"


@pytest.mark.parametrize("fault", LANDED)
def test_a_put_whose_reply_lies_has_landed(store: FaultyStore, fault: Fault) -> None:
    """A write that landed is found by reading back, whatever the reply said."""
    store.plan(fault)
    assert not put_once(store, "p", b"mine")
    assert store.fired
    assert pointer(store) == b"mine"


def test_a_put_without_an_answer_says_that_nothing_is_there(store: FaultyStore) -> None:
    """A write that never arrived is told as open, and repeating it stores the object."""
    store.plan(Fault.NO_ANSWER)
    with pytest.raises(Unavailable) as caught:
        put_once(store, "p", b"mine")
    assert caught.value.kind == "unknown-outcome"
    assert pointer(store) is None
    assert put_once(store, "p", b"mine")


@pytest.mark.parametrize("kind", ["store-full", "store-refuses"])
def test_what_a_store_will_not_do_is_not_open(store: FaultyStore, kind: str) -> None:
    """A store that says it did nothing is believed; the caller hears why."""

    class Unwilling(FaultyStore):
        def create(self, key: str, body: bytes | memoryview) -> None:
            raise Unavailable(f"not for {key}, {len(body)} bytes", kind=kind, hint="make room")

        def replace(self, key: str, body: bytes, *, etag: str) -> None:
            raise Unavailable(f"not for {key}, {body!r}, {etag}", kind=kind, hint="make room")

    unwilling = Unwilling(store.inner)
    for deed in (
        lambda: put_once(unwilling, "q", b"mine"),
        lambda: swap(unwilling, "q", b"mine", etag=None),
        lambda: swap(unwilling, "p", b"mine", etag=begin(store, b"theirs")),
    ):
        with pytest.raises(Unavailable) as caught:
            deed()
        assert (caught.value.kind, caught.value.hint) == (kind, "make room")
    assert pointer(store) == b"theirs"


def test_a_put_without_an_answer_finds_another_content(store: FaultyStore) -> None:
    """No answer is not taken for success where somebody else's bytes are."""
    store.create("p", b"theirs")
    store.plan(Fault.NO_ANSWER)
    with pytest.raises(Conflict) as caught:
        put_once(store, "p", b"mine")
    assert caught.value.kind == "different-content"


@pytest.mark.parametrize("fault", [*LANDED, Fault.NO_ANSWER])
def test_a_put_that_cannot_be_read_back_is_unknown(store: FaultyStore, fault: Fault) -> None:
    """When neither the write nor the reading back is answered, nothing is claimed."""
    store.plan(fault)
    store.plan(Fault.NO_ANSWER, after=1)
    with pytest.raises(Unavailable) as caught:
        put_once(store, "p", b"mine")
    assert caught.value.kind == "unknown-outcome"
    assert [f.operation for f in store.fired] == ["create", "get"]
    store.heal()
    put_once(store, "p", b"mine")
    assert pointer(store) == b"mine"


@pytest.mark.parametrize("damage", [Fault.CUT_READ, Fault.FLIPPED_BIT])
def test_a_damaged_reading_back_is_never_taken_for_mine(store: FaultyStore, damage: Fault) -> None:
    """Bytes that came back wrong are not called stored; the next try settles it."""
    store.plan(Fault.LOST_REPLY)
    store.plan(damage)
    with pytest.raises(Conflict):
        put_once(store, "p", b"mine")
    assert len(store.fired) == 2
    assert not put_once(store, "p", b"mine")


@pytest.mark.parametrize("crash", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
def test_a_put_survives_the_death_of_its_writer(store: FaultyStore, crash: Fault) -> None:
    """A crash is not handled, and the same put works afterwards."""
    store.plan(crash)
    with pytest.raises(SimulatedCrash):
        put_once(store, "p", b"mine")
    assert put_once(store, "p", b"mine") is (crash is Fault.CRASH_BEFORE)


# --- the pointer -------------------------------------------------------------------------------

BEFORE = pytest.mark.parametrize("before", [None, b"v1"])


@BEFORE
def test_the_pointer_moves(store: FaultyStore, before: bytes | None) -> None:
    """A swap moves what it saw, from nothing as well."""
    swap(store, "p", b"mine", etag=begin(store, before))
    assert pointer(store) == b"mine"


@BEFORE
@pytest.mark.parametrize("fault", LANDED)
def test_a_swap_whose_reply_lies_has_moved(
    store: FaultyStore, before: bytes | None, fault: Fault
) -> None:
    """A move that landed is found by reading back, whatever the reply said."""
    etag = begin(store, before)
    store.plan(fault)
    swap(store, "p", b"mine", etag=etag)
    assert store.fired
    assert pointer(store) == b"mine"


@BEFORE
def test_a_lost_race_is_said_to_be_lost(store: FaultyStore, before: bytes | None) -> None:
    """Somebody else's move is never overwritten."""
    etag = begin(store, before)
    swap(store, "p", b"theirs", etag=etag)
    with pytest.raises(Conflict) as caught:
        swap(store, "p", b"mine", etag=etag)
    assert caught.value.kind == "lost-race"
    assert pointer(store) == b"theirs"


@BEFORE
def test_a_swap_without_an_answer_has_not_moved(store: FaultyStore, before: bytes | None) -> None:
    """A move that never arrived is told as open, and repeating it moves."""
    etag = begin(store, before)
    store.plan(Fault.NO_ANSWER)
    with pytest.raises(Unavailable) as caught:
        swap(store, "p", b"mine", etag=etag)
    assert caught.value.kind == "unknown-outcome"
    assert pointer(store) == before
    swap(store, "p", b"mine", etag=etag)
    assert pointer(store) == b"mine"


@BEFORE
def test_a_swap_without_an_answer_after_a_lost_race_is_lost(
    store: FaultyStore, before: bytes | None
) -> None:
    """No answer and another pointer: the race is lost, and that is known."""
    etag = begin(store, before)
    swap(store, "p", b"theirs", etag=etag)
    store.plan(Fault.NO_ANSWER)
    with pytest.raises(Conflict) as caught:
        swap(store, "p", b"mine", etag=etag)
    assert caught.value.kind == "lost-race"
    assert store.fired


@BEFORE
@pytest.mark.parametrize("fault", [*LANDED, Fault.NO_ANSWER])
def test_a_swap_that_cannot_be_read_back_is_unknown(
    store: FaultyStore, before: bytes | None, fault: Fault
) -> None:
    """When neither the move nor the reading back is answered, nothing is claimed."""
    etag = begin(store, before)
    store.plan(fault)
    store.plan(Fault.NO_ANSWER, after=1)
    with pytest.raises(Unavailable) as caught:
        swap(store, "p", b"mine", etag=etag)
    assert caught.value.kind == "unknown-outcome"
    assert len(store.fired) == 2
    swap(store, "p", b"mine", etag=etag)
    assert pointer(store) == b"mine"


@BEFORE
@pytest.mark.parametrize("damage", [Fault.CUT_READ, Fault.FLIPPED_BIT])
def test_a_swap_with_a_damaged_reading_back_claims_no_success(
    store: FaultyStore, before: bytes | None, damage: Fault
) -> None:
    """A pointer that came back wrong is not taken for this writer's own."""
    etag = begin(store, before)
    store.plan(Fault.LOST_REPLY)
    store.plan(damage)
    with pytest.raises(Conflict):
        swap(store, "p", b"mine", etag=etag)
    assert len(store.fired) == 2


@BEFORE
@pytest.mark.parametrize("crash", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
def test_a_swap_survives_the_death_of_its_writer(
    store: FaultyStore, before: bytes | None, crash: Fault
) -> None:
    """A crash is not handled, and the same swap settles afterwards."""
    etag = begin(store, before)
    store.plan(crash)
    with pytest.raises(SimulatedCrash):
        swap(store, "p", b"mine", etag=etag)
    assert pointer(store) == (before if crash is Fault.CRASH_BEFORE else b"mine")
    swap(store, "p", b"mine", etag=etag)
    assert pointer(store) == b"mine"


def test_a_pointer_that_is_gone_is_a_lost_race(store: FaultyStore) -> None:
    """A swap creates nothing where it saw something."""
    etag = begin(store, b"v1")
    store.inner.delete("p")
    with pytest.raises(Conflict) as caught:
        swap(store, "p", b"mine", etag=etag)
    assert caught.value.kind == "lost-race"
    assert pointer(store) is None
