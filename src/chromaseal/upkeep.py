"""What keeps a vault in order: figures, garbage, verdicts, and mounts that have its versions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from chromaseal import keys
from chromaseal.errors import Damaged, NotFound, UsageError
from chromaseal.mount.sync import Synced, Wishes, sync
from chromaseal.parts import Parts
from chromaseal.pin import CollectionPin, pinned, read_pin, refuse_lost_pin
from chromaseal.repair.collection import Repaired, repair_collection
from chromaseal.run.model import Run
from chromaseal.sandbox import Progress, StepProgress, no_progress, no_step_progress
from chromaseal.seal.verdict import Level, Verdict
from chromaseal.snapshot.cancellations import version_with
from chromaseal.snapshot.find import VersionName, find
from chromaseal.snapshot.garbage import Garbage, collect
from chromaseal.snapshot.history import line
from chromaseal.snapshot.manifest import Version
from chromaseal.snapshot.retention import Policy
from chromaseal.snapshot.stats import Stats, stats
from chromaseal.sweep.ledger import Swept, sweep_ledger
from chromaseal.telemetry.emit import step
from chromaseal.verification.beyond_rescue import versions_beyond_rescue
from chromaseal.verification.delta import verify_deltas
from chromaseal.verification.doctor import examine_vault
from chromaseal.verification.remark import Remark
from chromaseal.verification.version import verify_version


class Upkeep:
    """The part of a vault that looks after it.

    Args:
        parts: store, ledger and the rest.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def collections(self) -> list[str]:
        """Give the names of all collections."""
        return pinned(self.parts.store)

    def pin(self, collection: str) -> CollectionPin | None:
        """Give what a collection is pinned to; None before its first write."""
        return read_pin(self.parts.store, collection)

    def verify(
        self,
        collection: str,
        *,
        at: VersionName = "",
        level: Level | str = Level.QUICK,
        progress: StepProgress = no_step_progress,
    ) -> Verdict:
        """Look at a version, fetched anew from its objects.

        Args:
            collection: whose version.
            at: a number, an id, a tag or a time; the newest by default.
            level: ``presence``, ``quick`` or ``deep``.
            progress: called with the step, and how much of it is done, of how much.

        Raises:
            NotFound: ``no-version`` or ``removed-version``.
            Damaged: the pointer or the manifest cannot be read.
        """
        self._known(collection)
        while True:
            version = find(self.parts.store, collection, at, clock=self.parts.clock)
            verdict = verify_version(self.parts, version, Level(level), progress=progress)
            if not verdict.failed or self._is_there(version):
                return verdict
            # Garbage collection has taken it meanwhile; its manifest goes before all else of it.

    def _is_there(self, version: Version) -> bool:
        key = keys.manifest(version.manifest.collection, version.version_id)
        return self.parts.store.head(key) is not None

    def verify_run(self, run_id: str, *, level: Level | str = Level.QUICK) -> Verdict:
        """Look at a run's deltas.

        Args:
            run_id: its id, or the beginning of it.
            level: ``presence``, ``quick`` or ``deep``.

        Raises:
            NotFound: ``no-run``.
        """
        return verify_deltas(self.parts, self.run(run_id), Level(level))

    def rebuild_ledger(self, *, progress: StepProgress = no_step_progress) -> Swept:
        """Make or complete the ledger from what the vault holds; see ``sweep.ledger``.

        For when no writer is at work: of a run that is half written, only what is there counts.
        """
        with step("sweep ledger"):
            return sweep_ledger(self.parts, progress=progress)

    def doctor(self, *, progress: StepProgress = no_step_progress) -> Iterator[Remark]:
        """Look at every collection and the ledger: what is wrong, why, and what mends it.

        Args:
            progress: called with a collection's name, and how many of its versions were looked
                at, of how many.
        """
        return examine_vault(self.parts, progress=progress)

    def repair(
        self,
        collection: str,
        *,
        dry_run: bool = False,
        progress: StepProgress = no_step_progress,
    ) -> Repaired:
        """Make a broken newest version readable again; see ``repair.collection``."""
        try:
            self._known(collection)
        except Damaged as error:
            # That is one of the things to repair.
            if error.kind != "missing-pin":
                raise
        with step("repair", collection=collection):
            return repair_collection(self.parts, collection, dry_run=dry_run, progress=progress)

    def gc(
        self,
        collection: str,
        policy: Policy | None = None,
        *,
        forget: Sequence[int] = (),
        dry_run: bool = False,
        progress: Progress = no_progress,
    ) -> Garbage:
        """Remove what no version needs, and versions that the policy does not keep.

        Args:
            collection: whose.
            policy: which versions stay; all of them by default.
            forget: numbers of versions that are beyond rescue and are to go.
            dry_run: tell what would go, and leave it.
            progress: called with removed and all objects.

        Raises:
            Conflict: ``cannot-forget``, such a version is whole, the newest, or has a tag.
        """
        self._known(collection)
        forgotten = versions_beyond_rescue(self.parts, collection, forget)
        with step("collect garbage", collection=collection) as told:
            garbage = collect(
                self.parts.store,
                collection,
                policy or Policy(),
                clock=self.parts.clock,
                ids=self.parts.ids,
                forget=forgotten,
                dry_run=dry_run,
                progress=progress,
            )
            told.note(objects=len(garbage.doomed), size_bytes=garbage.size_bytes)
        return garbage

    def sync(
        self,
        collection: str,
        mount: Path | str,
        *,
        keep: int = 2,
        existing_readers: bool = False,
        wait_s: float = 900.0,
        links: bool | None = None,
        progress: StepProgress = no_step_progress,
    ) -> Synced:
        """Have the newest version on a mount that many machines share; see ``mount.sync``.

        Args:
            collection: whose version.
            mount: a directory that is there.
            keep: how many versions stay on it.
            existing_readers: whether programs that know nothing of chromaseal are to find it, as
                ``snapshots/<collection>/<version>``.
            wait_s: how long another process that does the same is waited for.
            links: whether unchanged files are hard links to older ones; None to find out.
            progress: called with the step, and how much of it is done, of how much.
        """
        self._known(collection)
        wishes = Wishes(keep, existing_readers, wait_s, links)
        with step("sync", collection=collection, directory=str(mount)) as told:
            synced = sync(self.parts, collection, Path(mount), wishes=wishes, progress=progress)
            told.note(version_id=synced.version.version_id, written_bytes=synced.written_bytes)
        return synced

    def stats(self, collection: str) -> Stats:
        """Tell what a collection takes and costs."""
        newest = find(self.parts.store, collection, clock=self.parts.clock)
        store = self.parts.store
        objects = {i.key: i.size_bytes for i in store.list(keys.everything(collection))}
        deltas = (size for key, size in objects.items() if keys.parse_delta(key))
        return stats(newest.manifest, line(store, newest), objects, sum(deltas))

    def run(self, run_id: str, *, is_whole: bool = False) -> Run:
        """Give one run, by its id or by the beginning of it.

        Args:
            run_id: of which run.
            is_whole: whether that is all of its id; then no other run is meant, which begins so.

        Raises:
            NotFound: ``no-run``.
            UsageError: ``ambiguous-run``, several runs begin like that.
        """
        found = self.parts.ledger.get(run_id)
        if found is not None:
            return found
        similar = self.parts.ledger.with_prefix(run_id) if run_id and not is_whole else []
        if len(similar) > 1:
            raise UsageError(
                f"several runs begin with {run_id}: {', '.join(run.run_id for run in similar)}",
                kind="ambiguous-run",
                hint="give more of the id",
            )
        if not similar:
            raise NotFound(
                f"the ledger has no run {run_id}", kind="no-run", hint="chromaseal runs list"
            )
        return similar[0]

    def versions_with(self, run: Run) -> dict[str, str]:
        """Give the versions that contain a run, by collection, as the vault itself says.

        Raises:
            Damaged: a collection's newest version or history cannot be read.
        """
        found = {name: version_with(self.parts.store, name, run.run_id) for name in run.parts}
        return {name: version_id for name, version_id in found.items() if version_id}

    def refuse_unknown(self, collections: Sequence[str]) -> None:
        """Refuse names of which neither the vault nor the ledger knows anything.

        Raises:
            NotFound: ``no-collection``.
        """
        there = set(self.collections()) if collections else set()
        for name in collections:
            if name not in there and not any(self.parts.ledger.counts(name).values()):
                # A lost pin is a damage, for whoever works on the collection to tell.
                with contextlib.suppress(Damaged):
                    self._known(name)

    def _known(self, collection: str) -> None:
        if self.pin(collection) is None:
            refuse_lost_pin(self.parts.store, collection)
            raise NotFound(
                f"there is no collection {collection} in {self.parts.store.url}",
                kind="no-collection",
                hint="there are: " + (", ".join(self.collections()) or "none yet"),
            )
