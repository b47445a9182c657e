"""A line of versions without any content, for what looks at manifests only."""

from __future__ import annotations

from dataclasses import replace

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.clock import to_iso
from chromaseal.metering import CountingStore
from chromaseal.object_store import ObjectStore
from chromaseal.seal.evidence import FileEntry, RecordSummary
from chromaseal.snapshot.history import extend
from chromaseal.snapshot.manifest import (
    BASE,
    LayerEntry,
    Manifest,
    MergedRun,
    PartEntry,
    Version,
    encode,
)
from chromaseal.snapshot.version_id import stamp_after
from chromaseal.testing.clock import START, ManualClock

NAME = "notes"
BLANK = Manifest(
    collection=NAME,
    number=1,
    created_at=to_iso(START),
    attempt="0" * 32,
    parent=None,
    writer={},
    model=None,
    records=RecordSummary(0, ""),
    collections=(),
    runs=(),
    restores=None,
    pages=(),
    past=(),
    files=(),
    layers=(),
    step=None,
    packed_bytes=9,
    checks=(),
)


class ManifestLine:
    """A collection whose versions are manifests alone.

    Args:
        inner: where they are stored; a store of its own by default.

    Attributes:
        inner: the same.
        store: counts what goes to it.
        clock: gives the times of the versions.
        versions: oldest first.
    """

    def __init__(self, inner: ObjectStore | None = None) -> None:
        self.inner = inner or ObstoreObjectStore("memory://")
        self.store = CountingStore(self.inner)
        self.clock = ManualClock()
        self.versions: list[Version] = []

    def commit(self, *run_ids: str) -> Version:
        """Store the next version, as publishing does."""
        parent = self.versions[-1] if self.versions else None
        number = len(self.versions) + 1
        attempt = f"{number:032x}"
        extension = extend(self.store, parent, f"{number:06d}-{attempt}")
        moment = stamp_after(self.clock.now(), parent.version_id if parent else None)
        base = LayerEntry(
            f"{number:06d}-{attempt}-base", BASE, number, number, 0, (PartEntry(9, 5, "x"),)
        )
        manifest = replace(
            BLANK,
            number=number,
            created_at=to_iso(moment),
            attempt=attempt,
            parent=parent.as_parent if parent else None,
            records=RecordSummary(number, ""),
            runs=tuple(MergedRun(run_id, to_iso(moment), number) for run_id in run_ids),
            pages=extension.pages,
            past=extension.past,
            files=(FileEntry("chroma.sqlite3", 1, "x"),),
            layers=(base,),
        )
        version, body = encode(manifest)
        self.store.create(keys.manifest(NAME, version.version_id), body)
        self._point(version.version_id)
        self.versions.append(version)
        return version

    def grow(self, count: int) -> None:
        """Store so many versions, an hour apart."""
        for _ in range(count):
            self.commit()
            self.clock.sleep(3600)

    def _point(self, version_id: str) -> None:
        key = keys.pointer(NAME)
        found = self.inner.head(key)
        if found is None:
            self.store.create(key, version_id.encode())
        else:
            self.store.replace(key, version_id.encode(), etag=self.inner.get(key).etag)
