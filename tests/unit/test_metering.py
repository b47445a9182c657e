"""What a store is asked is counted, by operation and by byte, whatever came of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Conflict, NotFound
from chromaseal.metering import CountingStore, Usage


@pytest.fixture
def store() -> CountingStore:
    """Give an empty store in memory."""
    return CountingStore(ObstoreObjectStore("memory://"))


def test_every_operation_has_its_count(store: CountingStore) -> None:
    """Each operation raises its own count by one, and the bytes by what moved."""
    assert store.usage == Usage()
    store.create("a", memoryview(b"12345"))
    store.replace("a", b"1234567", etag=store.get("a").etag)
    store.get_range("a", start=5, length=99)
    store.head("a")
    assert len(list(store.list(""))) == 1
    store.delete("a")
    counts = Usage(create=1, replace=1, get=1, get_range=1, head=1, list=1, delete=1)
    assert store.usage == counts.since(Usage(bytes_in=-12, bytes_out=-7))
    assert store.usage.requests == 7


def test_refused_calls_count_as_well(store: CountingStore) -> None:
    """A refused write was sent, and a failed read was asked; neither gave any bytes."""
    store.create("a", b"123")
    with pytest.raises(Conflict):
        store.create("a", b"4567")
    with pytest.raises(NotFound):
        store.get("b")
    assert store.usage == Usage(create=2, get=1, bytes_in=7)


def test_usage_since_a_moment(store: CountingStore) -> None:
    """What one piece of work cost is a difference."""
    store.create("a", b"123")
    before = store.usage
    store.get("a")
    assert store.usage.since(before) == Usage(get=1, bytes_out=3)


def test_threads_lose_no_count(store: CountingStore) -> None:
    """Calls at the same moment are all counted."""
    store.create("a", b"123")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.get("a"), range(400)))
    assert store.usage == Usage(create=1, get=400, bytes_in=3, bytes_out=1200)
