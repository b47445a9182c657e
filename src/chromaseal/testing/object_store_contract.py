"""What every object store promises; inherit it and give a ``store`` fixture."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from chromaseal.errors import Conflict, NotFound, UsageError
from chromaseal.object_store import ObjectInfo, ObjectStore

CONTENDERS = 8


class ObjectStoreContract:
    """Tests for one implementation; ``store`` is an empty one."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Give the store under test, empty."""
        raise NotImplementedError

    def test_gives_back_what_was_created(self, store: ObjectStore) -> None:
        """An object reads as it was written, whole and in parts."""
        store.create("a/b.bin", b"0123456789")
        assert store.get("a/b.bin").body == b"0123456789"
        assert store.get_range("a/b.bin", start=2, length=3) == b"234"
        assert store.get_range("a/b.bin", start=8, length=9) == b"89"
        assert store.head("a/b.bin") == ObjectInfo("a/b.bin", 10)

    def test_never_creates_over_an_object(self, store: ObjectStore) -> None:
        """A second create is refused and changes nothing."""
        store.create("a", b"first")
        with pytest.raises(Conflict):
            store.create("a", b"second")
        assert store.get("a").body == b"first"

    def test_replaces_only_what_was_seen(self, store: ObjectStore) -> None:
        """A replace with an old tag is refused and changes nothing."""
        store.create("p", b"1")
        seen = store.get("p").etag
        store.replace("p", b"2", etag=seen)
        with pytest.raises(Conflict):
            store.replace("p", b"3", etag=seen)
        assert store.get("p").body == b"2"

    def test_never_replaces_what_is_missing(self, store: ObjectStore) -> None:
        """A replace creates nothing."""
        with pytest.raises(Conflict):
            store.replace("p", b"1", etag="anything")
        assert store.head("p") is None

    def test_says_what_is_missing(self, store: ObjectStore) -> None:
        """Reading a missing object is an error of its own; head and delete are calm."""
        with pytest.raises(NotFound):
            store.get("nothing")
        with pytest.raises(NotFound):
            store.get_range("nothing", start=0, length=1)
        assert store.head("nothing") is None
        store.delete("nothing")

    def test_lists_by_prefix_in_order(self, store: ObjectStore) -> None:
        """A listing has every object under the prefix, sorted, and no other."""
        for key in ("b/2", "b/10", "b/1/x", "bc", "a"):
            store.create(key, b"x")
        assert [found.key for found in store.list("b/")] == ["b/1/x", "b/10", "b/2"]
        assert [found.key for found in store.list("b")] == ["b/1/x", "b/10", "b/2", "bc"]
        assert [found.size_bytes for found in store.list("a")] == [1]
        assert list(store.list("nothing/")) == []

    def test_deletes(self, store: ObjectStore) -> None:
        """A deleted object is gone from reads and listings."""
        store.create("a", b"x")
        store.delete("a")
        assert store.head("a") is None
        assert list(store.list("")) == []

    def test_refuses_keys_that_could_climb_out(self, store: ObjectStore) -> None:
        """A key never leaves the prefix and never hides."""
        for key in ("../a", "a/../b", "/a", "a//b", "a/.hidden", "", "a\x00b"):
            with pytest.raises(UsageError):
                store.create(key, b"x")

    def test_one_of_many_creates(self, store: ObjectStore) -> None:
        """Of many writers that create at once exactly one wins, and its content stays."""
        for turn in range(10):
            won = _race(functools.partial(store.create, f"race/{turn}"), turn)
            assert len(won) == 1
            assert store.get(f"race/{turn}").body == won[0]

    def test_one_of_many_replaces(self, store: ObjectStore) -> None:
        """Of many writers that replace at once exactly one wins."""
        store.create("p", b"start")
        for turn in range(10):
            seen = store.get("p").etag
            won = _race(functools.partial(store.replace, "p", etag=seen), turn)
            assert len(won) == 1
            assert store.get("p").body == won[0]


def _race(write: Callable[[bytes], None], turn: int) -> list[bytes]:
    # Bodies never repeat: a store may make its tags from the content, so equal contents would
    # let a writer replace a version that it has not seen.
    def attempt(number: int) -> bytes | None:
        body = b"%d/%d" % (turn, number)
        try:
            write(body)
        except Conflict:
            return None
        return body

    with ThreadPoolExecutor(CONTENDERS) as pool:
        return [body for body in pool.map(attempt, range(CONTENDERS)) if body is not None]
