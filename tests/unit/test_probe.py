"""A store that ignores the conditions of writes never becomes a vault; a slow one may yet."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Conflict, Unavailable, Unsupported
from chromaseal.ids import SystemIds
from chromaseal.metering import CountingStore, Usage
from chromaseal.object_store import ObjectStore, StoredObject
from chromaseal.pin import pin_vault
from chromaseal.probe import refuse_unconditional
from chromaseal.testing.faults import Fault, FaultyStore, SimulatedCrash

MOST_OPERATIONS = 20


class Overwriting(CountingStore):
    """A store that takes every create."""

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object wherever it is."""
        self.inner.delete(key)
        self.inner.create(key, body)


class OverwritingInSilence(Overwriting):
    """The same behind a client that sends a write twice and tells what came of the second."""

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Overwrite an object, and say that it was there."""
        there = self.inner.head(key) is not None
        super().create(key, body)
        if there:
            raise Conflict("there already", kind="already-exists")


class IgnoringTags(CountingStore):
    """A store that takes every replace of something that is there."""

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object whatever it carries."""
        del etag
        self.inner.replace(key, body, etag=self.inner.get(key).etag)


class IgnoringTagsInSilence(CountingStore):
    """The same, saying "changed" where the tag was wrong."""

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object whatever it carries, and then look at the tag."""
        now = self.inner.get(key).etag
        self.inner.replace(key, body, etag=now)
        if etag != now:
            raise Conflict("changed", kind="lost-race")


class RefusingEveryTag(CountingStore):
    """A store whose tags never fit."""

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Refuse."""
        del key, body, etag
        raise Conflict("changed", kind="lost-race")


class Forgetting(CountingStore):
    """A store that does not yet give what was written."""

    def get(self, key: str) -> StoredObject:
        """Give what was never there."""
        return self.inner.get(f"{key}-unknown")


class Undeletable(CountingStore):
    """A store that this user may not delete from."""

    def delete(self, key: str) -> None:
        """Refuse."""
        raise Unavailable(f"no right to delete {key}", kind="store-unavailable")


def memory() -> ObjectStore:
    """Make an empty store that keeps its promises."""
    return ObstoreObjectStore("memory://")


def test_a_store_that_keeps_conditions_passes(tmp_path: Path) -> None:
    """A good store is left as it was, after a fixed number of small requests."""
    for good in (memory(), LocalObjectStore(tmp_path / "store")):
        store = CountingStore(good)
        refuse_unconditional(store, SystemIds())
        assert list(store.list("")) == []
        asked = store.usage.since(Usage(list=1, bytes_in=store.usage.bytes_in))
        assert asked == Usage(create=2, replace=2, get=2, delete=1, bytes_out=asked.bytes_out)


@pytest.mark.parametrize(
    "server", ["ministack_server", pytest.param("seaweedfs_server", marks=pytest.mark.slow)]
)
def test_real_servers_pass(server: str, request: pytest.FixtureRequest) -> None:
    """The servers of the contract suite are fit for a vault."""
    store = request.getfixturevalue(server).store(SystemIds().unique())
    refuse_unconditional(store, SystemIds())
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("wrapper", "failed"),
    [
        (Overwriting, "a second create of one object was accepted"),
        (OverwritingInSilence, "create overwrote an object that was there"),
        (IgnoringTags, "the tag of an older content was accepted"),
        (IgnoringTagsInSilence, "replace overwrote an object that had changed"),
        (RefusingEveryTag, "a replace with the right tag was refused"),
    ],
)
def test_a_store_without_conditions_is_refused(
    wrapper: Callable[[ObjectStore], ObjectStore], failed: str
) -> None:
    """What a store fails at is said, nothing of the trial stays, and no vault is made."""
    store = wrapper(memory())
    with pytest.raises(Unsupported) as caught:
        pin_vault(store, ids=SystemIds(), create=True)
    assert caught.value.kind == "no-conditional-writes"
    assert failed in caught.value.message
    assert "SeaweedFS" in caught.value.hint
    assert list(store.list("")) == []


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_is_never_a_verdict(fault: Fault) -> None:
    """Whatever operation of the trial fails on a good store: it passes, or the outcome is open."""
    expected = SimulatedCrash if fault.value.startswith("crash") else Unavailable
    for after in itertools.count():
        store = FaultyStore(memory())
        store.plan(fault, after=after)
        with contextlib.suppress(expected):
            refuse_unconditional(store, SystemIds())
        if not store.fired:
            break
        assert after < MOST_OPERATIONS
    assert after >= 1


@pytest.mark.parametrize("damage", [Fault.CUT_READ, Fault.FLIPPED_BIT, Fault.NO_ANSWER])
@pytest.mark.parametrize("reply", [Fault.LOST_REPLY, Fault.FALSE_REFUSAL])
def test_a_lost_reply_with_a_bad_reading_back_is_open(reply: Fault, damage: Fault) -> None:
    """A write whose reply lies and whose reading back fails proves nothing."""
    for after in (0, 1):
        store = FaultyStore(memory())
        store.plan(reply, after=after)
        for skipped in range(MOST_OPERATIONS):
            store.plan(damage, after=skipped + 1)
        with pytest.raises(Unavailable):
            refuse_unconditional(store, SystemIds())


def test_bytes_of_nobody_are_no_verdict() -> None:
    """A store that does not give back what it took is asked again another time."""
    with pytest.raises(Unavailable) as caught:
        refuse_unconditional(Forgetting(memory()), SystemIds())
    assert caught.value.kind == "unknown-outcome"


def test_who_may_not_delete_may_have_a_vault() -> None:
    """The trial's object stays where nobody may remove it, and the prefix becomes a vault."""
    store = Undeletable(memory())
    vault_id = pin_vault(store, ids=SystemIds(), create=True)
    assert pin_vault(store, ids=SystemIds(), create=False) == vault_id
    left, vault = (found.key for found in store.list(""))
    assert left.startswith(keys.PROBES)
    assert vault == keys.VAULT


def test_what_a_dead_probe_left_is_nobody_elses() -> None:
    """A prefix that only a trial has touched is still an empty one."""
    store = memory()
    store.create(keys.probe(SystemIds().unique()), b"left behind")
    assert pin_vault(store, ids=SystemIds(), create=True)


def test_an_existing_vault_is_not_probed() -> None:
    """Opening a vault that is there costs one read."""
    store = CountingStore(memory())
    pin_vault(store, ids=SystemIds(), create=True)
    before = store.usage
    pin_vault(store, ids=SystemIds(), create=True)
    asked = store.usage.since(before)
    assert asked == Usage(get=1, bytes_out=asked.bytes_out)
