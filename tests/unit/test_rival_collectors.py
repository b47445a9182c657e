"""Collectors of garbage beside each other, and after one has died: what it took is not lost."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import pytest

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Damaged
from chromaseal.ids import SystemIds
from chromaseal.metering import CountingStore
from chromaseal.object_store import ObjectInfo, StoredObject
from chromaseal.snapshot.garbage import collect
from chromaseal.snapshot.history import load
from chromaseal.snapshot.removal import write_removal
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.faults import Fault, FaultyStore, SimulatedCrash
from chromaseal.testing.manifest_line import NAME, ManifestLine
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault


class Vanishing(ObstoreObjectStore):
    """A store in which, each time tags are listed, one object is gone by the time it is read."""

    def __init__(self) -> None:
        super().__init__("memory://")
        self.waiting: list[str] = []
        self.going = ""
        self.gone: list[str] = []

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List objects."""
        if prefix == keys.tags(NAME) and self.waiting:
            self.going = self.waiting.pop(0)
        return super().list(prefix)

    def get(self, key: str) -> StoredObject:
        """Read an object."""
        if key == self.going and key not in self.gone:
            self.delete(key)
            self.gone.append(key)
        return super().get(key)


def test_versions_that_others_take_one_after_the_other_are_not_lost() -> None:
    """Each time something else is missing, what is to go is worked out anew."""
    store = Vanishing()
    made = ManifestLine(store)
    made.grow(5)
    ids = [version.version_id for version in made.versions[:3]]
    for number, version_id in enumerate(ids):
        # With a tag they stay as long as they are there, though a rival has announced them.
        store.create(keys.tag(NAME, f"tag-{number}"), version_id.encode())
    write_removal(store, NAME, "rival", ids)
    store.waiting = [keys.manifest(NAME, version_id) for version_id in ids]
    wanted = list(store.waiting)
    garbage = collect(store, NAME, Policy(), clock=ManualClock(), ids=SystemIds())
    assert store.gone == wanted
    assert garbage.kept == (4, 5)


def test_what_one_that_died_has_announced_goes() -> None:
    """Though the rules of the next one would keep it: nobody can read or tag it any more."""
    made = ManifestLine()
    made.grow(5)
    write_removal(made.inner, NAME, "dead", [made.versions[1].version_id])
    for _ in range(2):
        garbage = collect(
            made.inner, NAME, Policy(keep_last=5), clock=ManualClock(), ids=SystemIds()
        )
        assert garbage.kept == (1, 3, 4, 5)
    assert made.inner.head(keys.manifest(NAME, made.versions[1].version_id)) is None


def test_what_is_still_listed_is_whole() -> None:
    """Wherever a collector dies, versions have gone before the layers that they need."""
    died = 0
    for after in itertools.count():
        store = FaultyStore(ObstoreObjectStore("memory://"))
        made = ManifestLine(store.inner)
        made.grow(5)
        layers = [keys.layer_part(NAME, v.manifest.layers[0].layer_id, 0) for v in made.versions]
        for key in layers:
            store.create(key, b"x")
        store.plan(Fault.CRASH_BEFORE, after=after)
        with contextlib.suppress(SimulatedCrash):
            collect(store, NAME, Policy(keep_last=1), clock=ManualClock(), ids=SystemIds())
        for info in store.inner.list(keys.manifests(NAME)):
            _, version_id = keys.parse_manifest(info.key) or ("", "")
            number = load(store.inner, NAME, version_id).manifest.number
            assert store.inner.head(layers[number - 1]) is not None
        if not store.fired:
            break
        died += 1
    assert died > 8


class Overtaken(ObstoreObjectStore):
    """A store in which something happens between a look at the head and one at the objects."""

    def __init__(self) -> None:
        super().__init__("memory://")
        self.act: Callable[[], None] | None = None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List objects."""
        if prefix != keys.tags(NAME) and self.act is not None:
            act, self.act = self.act, None
            act()
        return super().list(prefix)


def test_what_an_overtaken_head_needs_stays() -> None:
    """A rival has taken the newest version since it was looked at: others build on its layers."""
    store = Overtaken()
    made = ManifestLine(store)
    made.grow(3)
    newest = made.versions[2]
    layer = keys.layer_part(NAME, newest.manifest.layers[0].layer_id, 0)
    store.create(layer, b"x")

    overtaken: list[str] = []

    def overtake() -> None:
        overtaken.append(newest.version_id)
        made.grow(1)
        write_removal(store, NAME, "rival", [newest.version_id])
        store.delete(keys.manifest(NAME, newest.version_id))

    store.act = overtake
    collect(store, NAME, Policy(keep_last=1), clock=ManualClock(), ids=SystemIds())
    assert overtaken
    assert store.head(layer) is not None


def test_a_long_history_is_not_read_each_time(vault: Vault) -> None:
    """Where all versions stay: what one that lost has left is found by the sizes of layers."""
    for number in range(7):
        vault.write({"lines": upserts(record("a", number))})
        vault.compact()
    lost = keys.layer_part("lines", f"000003-{SystemIds().unique()}-step", 0)
    vault.parts.store.create(lost, b"of an attempt that came second")
    store = CountingStore(vault.parts.store)
    garbage = collect(store, "lines", Policy(), clock=ManualClock(), ids=SystemIds())
    assert [each.key for each in garbage.doomed] == [lost]
    # Pointer and manifest of the newest one, and the manifest of the third.
    assert store.usage.get == 3
    assert len(garbage.kept) == 7
    verdict = vault.verify("lines", at="2")
    assert verdict.sound, verdict


def test_a_manifest_that_is_lost_is_missed_whatever_sizes_tell() -> None:
    """Nobody removed that version, and what it needs is not known without it."""
    made = ManifestLine()
    made.grow(3)
    for version in made.versions:
        (base,) = version.manifest.layers
        made.inner.create(keys.layer_part(NAME, base.layer_id, 0), bytes(base.size_bytes))
    collect(made.inner, NAME, Policy(), clock=ManualClock(), ids=SystemIds())
    made.inner.delete(keys.manifest(NAME, made.versions[1].version_id))
    with pytest.raises(Damaged, match="is missing"):
        collect(made.inner, NAME, Policy(), clock=ManualClock(), ids=SystemIds())
