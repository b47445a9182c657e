"""A vault whose newest versions are also written in the old layout, for readers of that.

The version is published, and its runs are told to be done, before anything is written there: a
mirror that cannot be reached costs nobody a version. It is behind then, which is told, until the
next publication, or whoever looks for it, brings it on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chromaseal.compaction.outcome import Compaction
from chromaseal.compaction.portion import Portion
from chromaseal.errors import ChromasealError
from chromaseal.legacy.exporting import Exported, export, trim
from chromaseal.object_store import ObjectStore
from chromaseal.parts import Parts
from chromaseal.repair.collection import Repaired
from chromaseal.replication.push import Pushed
from chromaseal.replication.replicate import Replicated, Skipped
from chromaseal.snapshot.history import head, line
from chromaseal.snapshot.version_id import parse
from chromaseal.telemetry.emit import event, step
from chromaseal.telemetry.observer import Severity
from chromaseal.vault import CollectionProgress, Vault


def bring_on(parts: Parts, collection: str, store: ObjectStore) -> Exported | None:
    """Bring a mirror to the newest version, and remove what was mirrored long ago.

    Args:
        parts: what the vault consists of.
        collection: whose.
        store: the mirror.

    Returns:
        None where there is no version yet.

    Raises:
        ChromasealError: see ``export``; the mirror is as it was.
    """
    newest = head(parts.store, collection).version
    if newest is None:
        return None
    with step("export", collection=collection):
        exported = export(parts, newest, store)
        if exported.new:
            past = line(parts.store, newest)
            trim(store, collection, {parse(each.version_id).existing_name for each in past})
    return exported


class MirroredVault(Vault):
    """A vault that writes what it has published into a mirror as well.

    Args:
        mirror: the bucket in the old layout.
        vault: takes the same as ``Vault``.
    """

    def __init__(self, parts: Parts, *, mirror: ObjectStore, **vault: Any) -> None:  # noqa: ANN401
        super().__init__(parts, **vault)
        self._mirror = mirror
        # Collections whose newest version could not be written there, with the reason.
        self.behind: dict[str, ChromasealError] = {}

    @property
    def mirror_url(self) -> str:
        """Say where the mirror is."""
        return self._mirror.url

    def compact(
        self,
        collections: Sequence[str] = (),
        *,
        portions: Mapping[str, Portion] | None = None,
        progress: CollectionProgress | None = None,
    ) -> list[Compaction]:
        """Fold the waiting runs of collections into versions; see ``Vault.compact``."""
        done = super().compact(collections, portions=portions, progress=progress)
        for each in done:
            if each.version is not None:
                self.bring_mirror_on(each.collection)
        return done

    def push(self, *given: Any, **options: Any) -> Pushed:  # noqa: ANN401
        """Publish a closed ChromaDB directory; see ``Vault.push``."""
        return self._mirrored(super().push(*given, **options))

    def rollback(self, *given: Any, **options: Any) -> Pushed:  # noqa: ANN401
        """Publish an older version's content; see ``Vault.rollback``."""
        return self._mirrored(super().rollback(*given, **options))

    def replicate(self, *given: Any, **options: Any) -> Iterator[Replicated]:  # noqa: ANN401
        """Publish a directory as an application changes it; see ``Vault.replicate``."""
        for done in super().replicate(*given, **options):
            yield done if isinstance(done, Skipped) else self._mirrored(done)

    def repair(self, collection: str, **options: Any) -> Repaired:  # noqa: ANN401
        """Make a broken newest version readable again; see ``Upkeep.repair``."""
        repaired = super().repair(collection, **options)
        if repaired.version is not None:
            self.bring_mirror_on(collection)
        return repaired

    def bring_mirror_on(self, collection: str) -> bool:
        """Bring the mirror to a collection's newest version; tell whether it is there now."""
        try:
            bring_on(self.parts, collection, self._mirror)
        except ChromasealError as error:
            self.behind[collection] = error
            event("mirror behind", Severity.WARNING, collection=collection, reason=error.message)
            return False
        self.behind.pop(collection, None)
        return True

    def _mirrored(self, pushed: Pushed) -> Pushed:
        self.bring_mirror_on(pushed.version.manifest.collection)
        return pushed
