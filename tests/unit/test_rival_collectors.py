"""Collectors of garbage beside each other: what one has just taken is not lost for the other."""

from __future__ import annotations

from collections.abc import Iterator

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.ids import SystemIds
from chromaseal.object_store import ObjectInfo, StoredObject
from chromaseal.snapshot.garbage import collect
from chromaseal.snapshot.removal import write_removal
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.manifest_line import NAME, ManifestLine


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
