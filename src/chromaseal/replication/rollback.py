"""An older version's content -> the next version."""

from __future__ import annotations

from pathlib import Path

from chromaseal.errors import Conflict, Damaged
from chromaseal.object_store import ObjectStore
from chromaseal.parts import Parts
from chromaseal.replication.push import Commit, Pushed
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.seal.sealed import seal
from chromaseal.seal.verify import verify
from chromaseal.snapshot.fallback import before_lost, read_twice
from chromaseal.snapshot.find import VersionName, find, find_before
from chromaseal.snapshot.history import Head, head, load, lost_race_if_moved, pointer
from chromaseal.snapshot.manifest import Version
from chromaseal.snapshot.publish import Draft, publish
from chromaseal.snapshot.version_id import parse
from chromaseal.stopwatch import Stopwatch


def rollback(
    parts: Parts, collection: str, at: VersionName, *, progress: StepProgress = no_step_progress
) -> Pushed:
    """Publish an older version's content as the next version.

    Nothing is taken away: the versions in between stay, and the runs that they merged count as
    contained, so that nobody merges them again. Where the newest version cannot be read, this
    gives it up: the next one begins with a base of its own. If its manifest is lost too, nobody
    knows its runs, and its number is used again. Where the newest version is that already, by
    an earlier rollback, nothing is done.

    Args:
        parts: what the vault consists of.
        collection: whose.
        at: a number, an id, a tag or a time.
        progress: called with the step, and how much of it is done, of how much.

    Raises:
        NotFound: ``no-version`` or ``removed-version``.
        Conflict: ``already-newest``; ``lost-race``, the newest version could not be read, and
            somebody else has published meanwhile.
        Damaged: the older version cannot be fetched whole, or which one was before a lost one
            cannot be told.
    """
    try:
        newest = read_twice(lambda: find(parts.store, collection, clock=parts.clock))
    except Damaged as error:
        before, etag = _before_lost(parts, collection, at, error)
        old = find_before(parts.store, before, at, clock=parts.clock)
        return _afresh(parts, Head(before, etag), old, progress)
    old = find(parts.store, collection, at, clock=parts.clock)
    if old.version_id == newest.version_id:
        raise Conflict(
            f"{old.version_id} is the newest version of {collection} already",
            kind="already-newest",
            hint=f"chromaseal log {collection}",
        )
    if not _is_readable(parts, newest):
        return _afresh(parts, head(parts.store, collection), old, progress)
    if _brings_back(newest, old):
        # Asked again, as after an answer that never came.
        return Pushed(newest, new=False)
    with parts.checkouts.workspace() as workspace:
        directory = workspace / "directory"
        parts.checkouts.copy(old, directory)
        commit = Commit(parts, collection, restores=old.manifest.number, progress=progress)
        return commit.run(directory, None)


def _brings_back(newest: Version, old: Version) -> bool:
    restored = newest.manifest.restores == old.manifest.number
    return restored and newest.manifest.files == old.manifest.files


def _is_readable(parts: Parts, version: Version) -> bool:
    try:
        read_twice(lambda: parts.checkouts.bring(version))
    except Damaged:
        return False
    return True


def _before_lost(
    parts: Parts, collection: str, at: VersionName, error: Damaged
) -> tuple[Version, str | None]:
    """Give the version before one whose manifest is lost, with the pointer as it is."""
    store = parts.store
    named, etag = pointer(store, collection)
    if named is None:
        raise error
    _refuse_readable(store, collection, named)
    try:
        with lost_race_if_moved(store, collection, Head(None, etag)):
            return before_lost(store, collection, named, error), etag
    except Damaged:
        # Of several attempts at one number a person may know which one was a version.
        if not _is_id(at):
            raise
    return load(store, collection, str(at)), etag


def _refuse_readable(store: ObjectStore, collection: str, version_id: str) -> None:
    """Give up no newest version but one that is lost: another may have come since the look."""
    try:
        load(store, collection, version_id)
    except Damaged:
        return
    raise Conflict(
        f"{collection} had a newest version that could not be read, and has {version_id} now",
        kind="lost-race",
        hint=f"chromaseal log {collection} shows it; then run the same command again",
    )


def _is_id(at: VersionName) -> bool:
    try:
        parse(str(at))
    except Damaged:
        return False
    return True


def _afresh(parts: Parts, found: Head, old: Version, progress: StepProgress) -> Pushed:
    """Publish a version's content without knowing the files of the one before."""
    watch = Stopwatch(parts.clock)
    with parts.checkouts.workspace() as workspace:
        directory: Path = workspace / "directory"
        with watch.step("fetch"):
            parts.checkouts.copy(old, directory)
        with watch.step("seal"):
            sealed = seal(directory, open_files=parts.open_files, clock=parts.clock)
        with watch.step("verify"):
            snapshot = verify(sealed, sandbox=parts.sandbox, expected=old.manifest.records)
        draft = Draft(
            collection=old.manifest.collection,
            head=found,
            model=old.manifest.model,
            runs=(),
            writer=parts.writer,
            restores=old.manifest.number,
            fresh_base=True,
        )
        with watch.step("publish"):
            version = publish(
                parts.store,
                snapshot,
                draft,
                kept=None,
                attempt=parts.ids.unique(),
                clock=parts.clock,
                progress=lambda done, total: progress("publish", done, total),
            )
    stored_bytes = version.as_past.stored_bytes
    return Pushed(version, new=True, stored_bytes=stored_bytes, durations_s=watch.durations_s)
