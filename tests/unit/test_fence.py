"""A fence at the pointer stands, or it is said that it does not."""

from __future__ import annotations

import pytest

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Conflict, Unavailable
from chromaseal.snapshot.cancellations import fence
from chromaseal.snapshot.history import pointer

NAME = "notes"
VERSION_ID = "20261128_120000_000000_000001_" + 32 * "0"


class BusyStore(ObstoreObjectStore):
    """A store that refuses to replace an object while another write to it is under way."""

    busy = 0

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Refuse as often as it is busy, as S3 does with status 409."""
        if self.busy:
            self.busy -= 1
            raise Conflict(f"{key} is being written", kind="already-exists")
        super().replace(key, body, etag=etag)


@pytest.fixture
def store() -> BusyStore:
    """Give a store with a pointer."""
    store = BusyStore("memory://")
    store.create(keys.pointer(NAME), VERSION_ID.encode())
    return store


def test_a_fence_changes_the_tag_and_nothing_else(store: BusyStore) -> None:
    """The pointer names the same version."""
    before = pointer(store, NAME)
    assert fence(store, NAME)
    after = pointer(store, NAME)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_store_that_is_busy_is_asked_again(store: BusyStore) -> None:
    """That it refused does not mean that somebody else was first."""
    store.busy = 2
    before = pointer(store, NAME)
    assert fence(store, NAME)
    assert pointer(store, NAME)[1] != before[1]


def test_a_store_that_stays_busy_is_told(store: BusyStore) -> None:
    """An attempt that is under way may still commit."""
    store.busy = 1000
    with pytest.raises(Unavailable) as caught:
        fence(store, NAME)
    assert caught.value.kind == "unknown-outcome"


def test_without_a_pointer_there_is_no_fence(store: BusyStore) -> None:
    """Nothing is made, either."""
    store.delete(keys.pointer(NAME))
    assert not fence(store, NAME)
    assert store.head(keys.pointer(NAME)) is None
