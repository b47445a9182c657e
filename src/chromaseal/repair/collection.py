"""A collection whose newest version is broken -> a new version with the same records.

Sources, in this order: what this machine keeps of the version; the nearest whole version with
the deltas of the runs that came after it, or all deltas from the beginning. What comes out must
amount to exactly the records of the broken version's manifest. Nothing that is stored is
changed; the new version follows the broken one and begins with a base of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from chromaseal import keys
from chromaseal.clock import to_iso
from chromaseal.compaction.deltas import read_stored
from chromaseal.compaction.plan import runs_to_repeat
from chromaseal.delta.model import Delta
from chromaseal.errors import ChromasealError, Damaged, NotFound
from chromaseal.parts import Parts
from chromaseal.pin import CollectionPin, read_pin
from chromaseal.repair.lost_manifest import (
    merge_first,
    prove_kept,
    publish_again,
    refuse_undoing,
)
from chromaseal.repair.lost_object import put_back_pin, put_back_pointer
from chromaseal.run.model import Run, RunState
from chromaseal.sandbox import StepProgress, limits_for, no_step_progress
from chromaseal.seal.examine import Wanted, examine
from chromaseal.seal.sealed import seal
from chromaseal.seal.verdict import Level, in_words
from chromaseal.seal.verify import verify
from chromaseal.snapshot.fallback import read_twice
from chromaseal.snapshot.find import load_kept
from chromaseal.snapshot.history import Head, head, line, lost_race_if_moved, merged_runs, pointer
from chromaseal.snapshot.manifest import PastVersion, Version
from chromaseal.snapshot.publish import Draft, publish
from chromaseal.snapshot.way import DeadEnd, Way, way_to
from chromaseal.verification.lost_version import (
    LostVersion,
    kept_of,
    proved_runs,
    version_before,
)
from chromaseal.verification.version import verify_version

_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair came to.

    Attributes:
        collection: whose.
        broken: the id of the version that was broken; empty if none was.
        problem: what was wrong with it.
        source: what its content was made from; empty where nothing had to be made.
        content_of: the number of the version whose content that is.
        left_out: the runs that the broken version had and that content has not; they wait again.
        version: the new version; None where none had to be published, or on a dry run.
        waiting: the runs that wait again, because no version has them.
        put_back: the objects that were lost and are there again, each with where it comes from.
    """

    collection: str
    broken: str = ""
    problem: str = ""
    source: str = ""
    content_of: int | None = None
    left_out: tuple[str, ...] = ()
    version: Version | None = None
    waiting: tuple[str, ...] = ()
    put_back: tuple[str, ...] = ()


def repair_collection(
    parts: Parts,
    collection: str,
    *,
    dry_run: bool = False,
    progress: StepProgress = no_step_progress,
) -> Repaired:
    """Make the newest version readable again, by publishing its content as the next one.

    Args:
        parts: the vault.
        collection: whose.
        dry_run: do everything but change the vault or the ledger.
        progress: called with the step, and how much of it is done, of how much.

    Raises:
        Damaged: ``cannot-repair``: no source is complete; the message says what is lost.
        Conflict: ``lost-race``, somebody else published meanwhile; look again.
    """
    put_back = put_back_pointer(parts, collection, dry_run=dry_run)
    if put_back and dry_run:
        return Repaired(collection, put_back=put_back)
    put_back += put_back_pin(parts, collection, dry_run=dry_run)
    if put_back and dry_run:
        return Repaired(collection, put_back=put_back)
    repaired = _newest(parts, collection, dry_run=dry_run, progress=progress)
    return replace(repaired, put_back=put_back)


def _newest(parts: Parts, collection: str, *, dry_run: bool, progress: StepProgress) -> Repaired:
    # Before any look at the vault: what is done later, in a later version, is not lost.
    done = _done_runs(parts, collection)
    named, etag = pointer(parts.store, collection)
    if named is None:
        raise NotFound(
            f"{collection} has no version that could be repaired",
            kind="no-version",
            hint=f"chromaseal doctor shows what there is of {collection}",
        )
    try:
        found = read_twice(lambda: head(parts.store, collection))
    except Damaged as error:
        lost = LostVersion(collection, named, error)
        with lost_race_if_moved(parts.store, collection, Head(None, etag)):
            return _without_manifest(parts, lost, etag, done, dry_run=dry_run, progress=progress)
    version = found.version
    if version is None:
        raise NotFound(f"{collection} has no version", kind="no-version")
    past = line(parts.store, version)
    waiting = _lost_runs(parts, collection, done, past, dry_run=dry_run)
    verdict = verify_version(parts, version, Level.QUICK, progress=progress)
    if verdict.sound:
        return Repaired(collection, waiting=waiting)
    with lost_race_if_moved(parts.store, collection, found):
        source, made = _Work(parts, found, version, past, progress).repair(dry_run=dry_run)
    problem = in_words(verdict.failed)
    return Repaired(
        collection,
        version.version_id,
        problem,
        source,
        content_of=version.manifest.number,
        version=made,
        waiting=waiting,
    )


class _Work:
    """One version to be made again, whose manifest can be read.

    Args:
        parts: the vault.
        found: the pointer, with that version.
        version: the version.
        past: every version up to it.
        progress: called with the step.
        may_be_whole: whether the version itself may be what it is made from.
    """

    def __init__(
        self,
        parts: Parts,
        found: Head,
        version: Version,
        past: list[PastVersion],
        progress: StepProgress,
        *,
        may_be_whole: bool = False,
    ) -> None:
        self._may_be_whole = may_be_whole
        self._parts = parts
        self._found = found
        self._version = version
        self._collection = version.manifest.collection
        self._past = past
        self._progress = progress

    def repair(self, *, dry_run: bool) -> tuple[str, Version | None]:
        """Make the content, prove it, and publish it; give its source and the new version."""
        with self._parts.checkouts.workspace() as workspace:
            directory = workspace / "directory"
            source = self._from_kept(directory) or self._from_runs(workspace, directory)
            self._prove(directory, workspace)
            return source, None if dry_run else self._publish(directory)

    def _from_kept(self, directory: Path) -> str:
        checkouts = self._parts.checkouts
        kept = checkouts.kept(self._version)
        if kept is None:
            return ""
        try:
            checkouts.copy_kept(kept, directory)
        except Damaged:
            return ""
        return f"what this machine keeps of version {self._version.manifest.number}"

    def _from_runs(self, workspace: Path, directory: Path) -> str:
        way = way_to(self._past, len(self._past), self._fetching(directory))
        if isinstance(way, DeadEnd):
            raise self._cannot(
                f"version {way.number} was pushed from a directory, and its content is nowhere "
                f"else in the vault"
            )
        self._merge(workspace, directory, self._deltas(way))
        begin = f"version {way.number}" if way.number else "nothing"
        return f"{begin} and the deltas of {len(way.run_ids)} runs after it"

    def _fetching(self, directory: Path) -> Callable[[int], bool]:
        def fetched(number: int) -> bool:
            if number == len(self._past) and not self._may_be_whole:
                return False
            self._progress(f"fetch version {number}", 0, 0)
            try:
                version = self._load(number)
                self._parts.checkouts.fetch_fresh(version, directory)
            except (Damaged, NotFound):
                return False
            return True

        return fetched

    def _load(self, number: int) -> Version:
        from_id = self._past[number - 1].version_id
        return load_kept(self._parts.store, self._collection, from_id)

    def _deltas(self, way: Way) -> list[Delta]:
        deltas = [self._delta(run_id) for run_id in way.run_ids]
        # As a compactor does with runs that came late: later ones are applied once more.
        before = merged_runs(self._past[: way.number]).effective
        repeated = [self._delta(run.run_id) for run in runs_to_repeat(deltas, before)]
        return [*deltas, *repeated]

    def _delta(self, run_id: str) -> Delta:
        key = keys.delta(self._collection, run_id, self._parts.codec.suffix)
        try:
            return read_stored(self._parts.store, self._parts.codec, key)[0]
        except (Damaged, NotFound) as error:
            raise self._cannot(
                f"the delta of run {run_id} cannot be read: {error.message}"
            ) from error

    def _merge(self, workspace: Path, directory: Path, deltas: list[Delta]) -> None:
        if not deltas:
            return
        self._progress("merge", 0, 0)
        pin = self._pin()
        paths = []
        for number, delta in enumerate(deltas):
            path = workspace / f"delta-{number}{self._parts.codec.suffix}"
            path.write_bytes(self._parts.codec.encode(delta))
            paths.append(str(path))
        self._parts.sandbox.run(
            "merge",
            {
                "directory": str(directory),
                "collection": self._collection,
                "space": pin.space,
                "default_model": pin.is_chroma_default,
                "deltas": paths,
            },
            limits=limits_for(self._version.manifest.size_bytes, sum(map(len, deltas))),
        )

    def _prove(self, directory: Path, workspace: Path) -> None:
        """Look deep, and compare the records with those of the broken version's manifest."""
        parts = self._parts
        verdict = examine(
            directory,
            Level.DEEP,
            sandbox=parts.sandbox,
            open_files=parts.open_files,
            clock=parts.clock,
            wanted=Wanted(records=self._version.manifest.records),
            scratch=workspace,
            progress=self._progress,
        )
        if not verdict.sound:
            raise self._cannot(f"what was made is not the same: {in_words(verdict.failed)}")

    def _publish(self, directory: Path) -> Version:
        parts, manifest = self._parts, self._version.manifest
        self._progress("publish", 0, 0)
        sealed = seal(directory, open_files=parts.open_files, clock=parts.clock)
        snapshot = verify(sealed, sandbox=parts.sandbox, expected=manifest.records)
        draft = Draft(
            collection=self._collection,
            head=self._found,
            model=manifest.model,
            runs=(),
            writer=parts.writer,
            restores=manifest.number,
            fresh_base=True,
        )
        return publish(
            parts.store,
            snapshot,
            draft,
            kept=None,
            attempt=parts.ids.unique(),
            clock=parts.clock,
            progress=lambda done, total: self._progress("publish", done, total),
        )

    def _pin(self) -> CollectionPin:
        pin = read_pin(self._parts.store, self._collection)
        if pin is None:
            raise self._cannot(f"{keys.collection(self._collection)} is missing")
        return pin

    def _cannot(self, why: str) -> Damaged:
        number = self._version.manifest.number
        return Damaged(
            f"version {number} of {self._collection} cannot be made again: {why}",
            kind="cannot-repair",
            hint=f"chromaseal repair {self._collection} on a machine that has read or written it; "
            f"chromaseal rollback {self._collection} VERSION gives up what came after VERSION",
        )


def _done_runs(parts: Parts, collection: str) -> list[Run]:
    try:
        return parts.ledger.newest(collection=collection, state=RunState.COMPLETED, limit=_ALL)
    except ChromasealError:
        # Nobody named a ledger, or there is none: the vault has lost nothing by that.
        return []


def _lost_runs(
    parts: Parts, collection: str, done: list[Run], past: list[PastVersion], *, dry_run: bool
) -> tuple[str, ...]:
    """Let runs wait again that the ledger called COMPLETED before and that are in no version."""
    merged = {run_id for version in past for run_id, _ in version.runs}
    lost = tuple(run.run_id for run in done if run.run_id not in merged)
    if lost and not dry_run:
        parts.ledger.move(
            lost,
            collection,
            states=[RunState.COMPLETED],
            to=RunState.PENDING,
            at=to_iso(parts.clock.now()),
            error="the version that had it is lost",
        )
    return lost


def _without_manifest(
    parts: Parts,
    lost: LostVersion,
    etag: str | None,
    done: list[Run],
    *,
    dry_run: bool,
    progress: StepProgress,
) -> Repaired:
    """Publish what is kept of a version whose manifest is lost, or step over it if that is safe."""
    before = version_before(parts, lost)
    repaired = Repaired(lost.collection, lost.version_id, lost.problem.message)
    with parts.checkouts.workspace() as workspace:
        directory = workspace / "directory"
        source = _again(parts, lost, before, directory, progress)
        if source:
            found = Head(before, etag)
            made = None if dry_run else publish_again(parts, lost, found, directory, progress)
            return replace(repaired, source=source, content_of=lost.number, version=made)
    if before is None:
        raise lost.cannot("there is no version before it")
    runs = tuple(run.run_id for run in proved_runs(parts, lost, before))
    past = line(parts.store, before)
    work = _Work(parts, Head(before, etag), before, past, progress, may_be_whole=True)
    source, made = work.repair(dry_run=dry_run)
    waiting = _lost_runs(parts, lost.collection, done, past, dry_run=dry_run)
    return replace(
        repaired,
        source=source,
        content_of=before.manifest.number,
        left_out=runs,
        version=made,
        waiting=waiting,
    )


def _again(
    parts: Parts, lost: LostVersion, before: Version | None, directory: Path, progress: StepProgress
) -> str:
    """Make the content of a lost version again; say from what, or nothing where that cannot be."""
    kept = kept_of(parts, lost)
    if kept is not None and prove_kept(parts, kept, directory, progress):
        if before is not None:
            refuse_undoing(parts, lost, before)
        return f"what this machine keeps of version {lost.number}"
    if before is not None:
        return ""
    shutil.rmtree(directory, ignore_errors=True)
    runs = proved_runs(parts, lost, None)
    merge_first(parts, lost, runs, directory, progress)
    return f"nothing and the deltas of {len(runs)} runs"
