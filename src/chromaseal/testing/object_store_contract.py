"""What every object store promises; inherit it and give a ``store`` fixture.

Stores that settle crowds slowly may have smaller ones: ``CONTENDERS`` and ``TURNS`` are there to
be overridden. Races run in threads of one process, which share the store's connections.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from chromaseal.errors import Conflict, NotFound, UsageError
from chromaseal.object_store import ObjectInfo, ObjectStore

_MANY_KEYS = 1_203  # more than any store lists at once
_LARGE_BYTES = 20_000_003
_RANGE_BYTES = 1 << 20
_WORKERS = 8
_START_TIMEOUT_S = 10.0


class ObjectStoreContract:
    """Tests for one implementation; ``store`` is an empty one.

    Attributes:
        CONTENDERS: how many write at once in a race.
        TURNS: how many races a test holds.
    """

    CONTENDERS: ClassVar[int] = 8
    TURNS: ClassVar[int] = 10

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

    def test_refuses_keys_that_stores_spell_differently(self, store: ObjectStore) -> None:
        """Letters outside of ASCII are refused by every operation that takes a key."""
        for key in ("caf\u00e9", "cafe\u0301", "a/\u96ea.bin", "a\u202eb", "\U0001f9fe", "a b"):
            for operation in (
                functools.partial(store.create, key, b"x"),
                functools.partial(store.replace, key, b"x", etag="x"),
                functools.partial(store.get, key),
                functools.partial(store.get_range, key, start=0, length=1),
                functools.partial(store.head, key),
                functools.partial(store.delete, key),
            ):
                with pytest.raises(UsageError):
                    operation()
        assert list(store.list("")) == []

    def test_keeps_an_empty_body(self, store: ObjectStore) -> None:
        """An object without content is an object, and can be replaced by one and become one."""
        store.create("empty", b"")
        assert store.get("empty").body == b""
        assert store.head("empty") == ObjectInfo("empty", 0)
        assert list(store.list("")) == [ObjectInfo("empty", 0)]
        with pytest.raises(Conflict):
            store.create("empty", b"x")
        store.replace("empty", b"x", etag=store.get("empty").etag)
        store.replace("empty", b"", etag=store.get("empty").etag)
        assert store.get("empty").body == b""

    def test_reads_nothing_where_nothing_is(self, store: ObjectStore) -> None:
        """An empty range, or one that begins past the end, holds no bytes and is no error."""
        store.create("empty", b"")
        store.create("short", b"123")
        assert store.get_range("empty", start=0, length=1) == b""
        assert store.get_range("short", start=3, length=1) == b""
        assert store.get_range("short", start=100, length=100) == b""
        assert store.get_range("short", start=1, length=0) == b""
        with pytest.raises(NotFound):
            store.get_range("nothing", start=0, length=0)

    def test_creates_again_what_was_deleted(self, store: ObjectStore) -> None:
        """A deleted object's name is free, and what was seen of it cannot be replaced."""
        store.create("a", b"first")
        seen = store.get("a").etag
        store.delete("a")
        with pytest.raises(Conflict):
            store.replace("a", b"late", etag=seen)
        store.create("a", b"second")
        assert store.get("a").body == b"second"
        with pytest.raises(Conflict):
            store.create("a", b"third")

    def test_replaces_a_content_that_came_back(self, store: ObjectStore) -> None:
        """After another content and the first one again, tags in between are worthless.

        The first tag may be the last one again, as stores may make tags from contents: bodies
        that are compared must never repeat. A tag of what lay in between is never taken.
        """
        store.create("p", b"one")
        store.replace("p", b"two", etag=store.get("p").etag)
        between = store.get("p").etag
        store.replace("p", b"one", etag=between)
        with pytest.raises(Conflict):
            store.replace("p", b"three", etag=between)
        assert store.get("p").body == b"one"
        store.replace("p", b"three", etag=store.get("p").etag)
        assert store.get("p").body == b"three"

    def test_large_objects_read_in_parallel_ranges(self, store: ObjectStore) -> None:
        """Twenty megabytes come back the same, whole and put together from many parts."""
        body = _bytes_without_a_pattern(_LARGE_BYTES)
        store.create("large", memoryview(body))
        read = functools.partial(store.get_range, "large", length=_RANGE_BYTES)
        with ThreadPoolExecutor(_WORKERS) as pool:
            parts = pool.map(lambda start: read(start=start), range(0, len(body), _RANGE_BYTES))
            assert b"".join(parts) == body
        assert store.get("large").body == body
        assert store.head("large") == ObjectInfo("large", len(body))

    def test_lists_more_than_a_page(self, store: ObjectStore) -> None:
        """A listing is whole and in order however many requests it takes."""
        keys = [f"many/{number:05d}/{number % 7}" for number in range(_MANY_KEYS)]
        with ThreadPoolExecutor(_WORKERS) as pool:
            list(pool.map(lambda key: store.create(key, key.encode()), reversed(keys)))
        assert [found.key for found in store.list("many/")] == keys
        assert [found.key for found in store.list("many/0012")] == keys[120:130]

    def test_one_of_many_creates(self, store: ObjectStore) -> None:
        """Of many writers that create at once exactly one wins, and its content stays."""
        for turn in range(self.TURNS):
            won = self._race(functools.partial(store.create, f"race/{turn}"), turn)
            assert len(won) == 1
            assert store.get(f"race/{turn}").body == won[0]

    def test_one_of_many_replaces(self, store: ObjectStore) -> None:
        """Of many writers that replace at once exactly one wins."""
        store.create("p", b"start")
        for turn in range(self.TURNS):
            seen = store.get("p").etag
            won = self._race(functools.partial(store.replace, "p", etag=seen), turn)
            assert len(won) == 1
            assert store.get("p").body == won[0]

    def test_counts_every_increment(self, store: ObjectStore) -> None:
        """A number that many raise by reading and replacing it misses nobody."""
        store.create("count", b"0")

        def raise_it(_: int) -> None:
            for _ in range(self.TURNS):
                while True:
                    seen = store.get("count")
                    try:
                        store.replace("count", b"%d" % (int(seen.body) + 1), etag=seen.etag)
                    except Conflict:
                        # Each refusal is another's success, so this ends.
                        continue
                    break

        with ThreadPoolExecutor(self.CONTENDERS) as pool:
            list(pool.map(raise_it, range(self.CONTENDERS)))
        assert int(store.get("count").body) == self.CONTENDERS * self.TURNS

    def _race(self, write: Callable[[bytes], None], turn: int) -> list[bytes]:
        # Bodies never repeat: a store may make its tags from the content, so equal contents
        # would let a writer replace a version that it has not seen.
        start = threading.Barrier(self.CONTENDERS)

        def attempt(number: int) -> bytes | None:
            body = b"%d/%d" % (turn, number)
            start.wait(_START_TIMEOUT_S)
            try:
                write(body)
            except Conflict:
                return None
            return body

        with ThreadPoolExecutor(self.CONTENDERS) as pool:
            tried = pool.map(attempt, range(self.CONTENDERS))
            return [body for body in tried if body is not None]


def _bytes_without_a_pattern(count: int) -> bytes:
    # Its parts differ from each other, so none can stand in another's place.
    return hashlib.shake_256(b"large").digest(count)
