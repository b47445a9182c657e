"""A snapshot in the existing pipeline's bucket -> the first version of a collection.

bucket -> private directory -> looked at deeply -> made again from itself where it is damaged ->
sealed, verified, published. The bucket is only read. Whoever dies anywhere leaves either nothing
or the version, and whoever comes again finds it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chromaseal.errors import Conflict, Damaged, NotFound
from chromaseal.legacy.bucket import Fetched, LegacyBucket
from chromaseal.parts import Parts
from chromaseal.repair.directory import RepairedDirectory, repair_directory
from chromaseal.repair.equipment import Equipment
from chromaseal.replication.push import Commit
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.seal.examine import Wanted, examine
from chromaseal.seal.sealed import seal
from chromaseal.seal.verdict import Level
from chromaseal.seal.verify import VerifiedSnapshot, verify
from chromaseal.snapshot.history import Head, head, line, load
from chromaseal.snapshot.manifest import Version


@dataclass(frozen=True, slots=True)
class ImportedSnapshot:
    """What became of a snapshot.

    Attributes:
        collection: in the bucket, and in the vault.
        snapshot_id: of the snapshot.
        fetched: how it was found.
        repaired: what was wrong with it, and from what it was made again.
        version: the version that has its records.
        new: False if that was there before.
    """

    collection: str
    snapshot_id: str
    fetched: Fetched
    repaired: RepairedDirectory
    version: Version
    new: bool


def import_snapshot(
    parts: Parts,
    bucket: LegacyBucket,
    collection: str,
    *,
    at: str = "",
    replace: bool = False,
    progress: StepProgress = no_step_progress,
) -> ImportedSnapshot | None:
    """Publish a snapshot, unless a version has its records already.

    Args:
        parts: what the vault consists of.
        bucket: where it is.
        collection: which.
        at: the snapshot's id; the one that the pointer names by default.
        replace: publish it also where the collection has other versions.
        progress: called with the step, and how much of it is done, of how much.

    Returns:
        None where the bucket has no pointer for the collection, and so no snapshot.

    Raises:
        Damaged: ``cannot-repair``, it is damaged, and what of it has no source is named;
            ``bad-archive``, ``bad-path``, ``cut-object`` or ``bad-snapshot-id``.
        RefusedInput: ``unsafe-archive``.
        NotFound: ``no-snapshot``.
        Conflict: ``not-the-newest``, the collection has other versions.
    """
    snapshot_id = at or bucket.newest(collection)
    if snapshot_id is None:
        return None
    with parts.checkouts.workspace() as workspace:
        directory = workspace / "directory"
        told = functools.partial(progress, "fetch")
        told(0, 0)
        fetched = bucket.fetch_snapshot(
            collection, snapshot_id, directory, workspace, progress=told
        )
        try:
            repaired = repair_directory(directory, equipment_of(parts), progress=progress)
        except Damaged as error:
            raise _cannot(bucket, collection, snapshot_id, directory, error) from error
        _refuse_other_collection(parts, collection, snapshot_id, directory)
        version, new = _published(parts, collection, directory), False
        if version is None:

            def is_first(found: Head) -> None:
                if found.version is not None and not replace:
                    raise _other_versions(found.version, bucket, snapshot_id)

            commit = Commit(parts, collection, progress=progress)
            pushed = commit.run(directory, None, check=is_first)
            version, new = pushed.version, pushed.new
    return ImportedSnapshot(collection, snapshot_id, fetched, repaired, version, new)


def equipment_of(parts: Parts) -> Equipment:
    """Give what it takes to look at a directory, and to repair it."""
    return Equipment(parts.sandbox, parts.open_files, parts.clock, parts.ids, parts.exchange)


def _cannot(
    bucket: LegacyBucket, collection: str, snapshot_id: str, directory: Path, error: Damaged
) -> Damaged:
    others = [each for each in bucket.snapshots(collection) if each != snapshot_id]
    # The path would be that of the private copy.
    why = error.message.replace(str(directory), f"snapshot {snapshot_id} of {collection}")
    older = f"older ones are there: --at {', '.join(others)}" if others else ""
    return Damaged(why, kind=error.kind, hint=older or "there is no other one")


def _published(parts: Parts, collection: str, directory: Path) -> Version | None:
    """Give the version that has a directory's records and came about without any run."""
    newest = head(parts.store, collection).version
    if newest is None:
        return None
    sealed = seal(directory, open_files=parts.open_files, clock=parts.clock)
    wanted = verify(sealed, sandbox=parts.sandbox)
    return next((v for v in _without_runs(parts, newest, wanted) if _is(v, wanted)), None)


def _without_runs(parts: Parts, newest: Version, wanted: VerifiedSnapshot) -> Iterator[Version]:
    name, count = newest.manifest.collection, wanted.records.count
    for past in reversed(line(parts.store, newest)):
        if past.runs or past.restores is not None or past.records != count:
            continue
        try:
            yield load(parts.store, name, past.version_id)
        except (NotFound, Damaged):
            # It was removed, or is lost: then nothing tells that it was this one.
            continue


def _is(version: Version, wanted: VerifiedSnapshot) -> bool:
    """Whether a version has the records, to the last bit; a repair makes other files of them."""
    manifest, sealed = version.manifest, wanted.sealed
    if manifest.files == tuple(file.table.entry(file.path) for file in sealed.files):
        return True
    # The hash over a collection's records leaves the vectors of a cosine space out.
    exact = all(each.space != "cosine" for each in wanted.collections)
    return exact and set(manifest.collections) == set(wanted.collections)


def _refuse_other_collection(
    parts: Parts, collection: str, snapshot_id: str, directory: Path
) -> None:
    found = examine(
        directory,
        Level.QUICK,
        sandbox=parts.sandbox,
        open_files=parts.open_files,
        clock=parts.clock,
        wanted=Wanted(collection=collection),
    )
    for finding in found.failed:
        raise Damaged(
            f"snapshot {snapshot_id} of {collection} is not one of it: {finding.evidence}",
            kind="other-collection",
            hint="name an older one with --at",
        )


def _other_versions(newest: Version, bucket: LegacyBucket, snapshot_id: str) -> Conflict:
    manifest = newest.manifest
    return Conflict(
        f"{manifest.collection} has version {manifest.number} already, which was not made from "
        f"snapshot {snapshot_id} of {bucket.url}: publishing that would undo what came since",
        kind="not-the-newest",
        hint="import it into a vault of its own, or say --replace to publish it all the same; "
        "older versions stay",
    )
