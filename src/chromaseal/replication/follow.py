"""A collection -> a folder with a copy of its newest version, and of the one before.

::

    <folder>/<version id>/    a private copy of a version; whoever reads it may open it
    <folder>/current          a link to the newest one
    <folder>/.follows         which collection of which vault it keeps
    <folder>/.*.unfinished    a copy that is being made, or waits to become the next version's

Each copy appears whole under a name of its own and is never touched again; the link moves in one
step. A reader opens ``current`` once and keeps what it got for as long as it likes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chromaseal.clock import Clock
from chromaseal.errors import Conflict, Damaged, NotFound, Unavailable
from chromaseal.parts import Parts
from chromaseal.replication.origins import write_whole
from chromaseal.replication.spare import Copies
from chromaseal.sandbox import Progress, no_progress
from chromaseal.snapshot.checkout import cannot_write, name_of_unfinished, sync
from chromaseal.snapshot.fallback import Told, newest_readable, tell_nobody
from chromaseal.snapshot.history import pointer
from chromaseal.snapshot.manifest import Version
from chromaseal.snapshot.version_id import VersionId, parse
from chromaseal.telemetry.emit import step

CURRENT = "current"
_FOLLOWS = ".follows"
_KEPT_COPIES = 2
_RETRY_S = 60.0
_TEMPORARY_LINK = re.compile(r"\.[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Moved:
    """A copy that has come up to date.

    Attributes:
        version: the version that it has now.
        directory: where it is.
        duration_s: from finding the version to having it.
    """

    version: Version
    directory: Path
    duration_s: float


def follow(
    parts: Parts,
    collection: str,
    folder: Path,
    *,
    interval_s: float = 1.0,
    stop: Callable[[], bool] = lambda: False,
    told: Told = tell_nobody,
    progress: Progress = no_progress,
) -> Iterator[Moved]:
    """Keep a copy of the newest version; yield each move.

    A store that does not answer for a while is asked again. A version that cannot be fetched
    whole is never served: the copy stays at the newest one that can, and the bad one is tried
    again every minute.

    Args:
        parts: what the vault consists of.
        collection: whose versions.
        folder: where the copies are.
        interval_s: how long to wait before looking again.
        stop: asked before each look; True ends it.
        told: called once for each version that cannot be served, with its id and the reason.
        progress: called with fetched and all bytes.

    Raises:
        Conflict: ``cannot-write``; ``not-a-copy``, something else is in the folder.
        Damaged: the pointer cannot be read, or no version can be served.
    """
    _prepare(parts, collection, folder)
    passed = Passed(parts.clock, told)
    with Copies(parts, collection, folder) as copies:
        while not stop():
            moved = None
            with contextlib.suppress(Unavailable):
                moved = _move(parts, copies, passed, progress)
            if moved is not None:
                yield moved
                _tidy(parts, copies)
            # Whoever waits for a version has it by now.
            _prepare_next(copies)
            if moved is None:
                parts.clock.sleep(interval_s)


class Passed:
    """The versions that cannot be served, each told of once and tried again now and then."""

    def __init__(self, clock: Clock, told: Told) -> None:
        self._clock = clock
        self._told = told
        self._tried_at_s: dict[str, float] = {}

    def rests(self, version_id: str) -> bool:
        """Whether a version was tried and failed just now."""
        tried_at_s = self._tried_at_s.get(version_id)
        return tried_at_s is not None and self._clock.monotonic_s() < tried_at_s + _RETRY_S

    def note(self, version_id: str, error: Damaged) -> None:
        """Remember a version, and tell of it if it is a new one."""
        if version_id not in self._tried_at_s:
            self._told(version_id, error)
        self._tried_at_s[version_id] = self._clock.monotonic_s()


def advance(
    parts: Parts,
    collection: str,
    folder: Path,
    *,
    passed: Passed | None = None,
) -> Moved | None:
    """Bring a folder up to date once; None if it is, or cannot be.

    Raises:
        Conflict: ``cannot-write``.
        Damaged: no version can be fetched whole.
    """
    with Copies(parts, collection, folder) as copies:
        passed = passed or Passed(parts.clock, tell_nobody)
        moved = _move(parts, copies, passed, no_progress)
        if moved is not None:
            _tidy(parts, copies)
    return moved


def _move(parts: Parts, copies: Copies, passed: Passed, progress: Progress) -> Moved | None:
    """Bring a folder up to date once, but for what is not needed any more; see ``advance``."""
    collection, folder = copies.collection, copies.folder
    start = parts.clock.monotonic_s()
    version_id, _ = pointer(parts.store, collection)
    if version_id is None or version_id == current(folder) or passed.rests(version_id):
        return None
    with step("follow version", collection=collection) as told, _alone_in(folder) as alone:
        if alone:
            _remove_unfinished(parts, folder, copies.spare)

        def fetch(version: Version) -> bool:
            instead = version.version_id != version_id
            return _fetch(copies, version, progress, instead=instead)

        found = newest_readable(parts.store, collection, fetch, told=passed.note)
        if found is None or not found[1]:
            return None
        version = found[0]
        _point(parts, folder, version.version_id)
        told.note(version_id=version.version_id)
    directory = folder / version.version_id
    return Moved(version, directory, parts.clock.monotonic_s() - start)


def _fetch(copies: Copies, version: Version, progress: Progress, *, instead: bool) -> bool:
    """Have a version's copy in a folder.

    Returns:
        False where the folder is at the version already, or further than one that would be
        served instead of the newest.
    """
    folder = copies.folder
    here = current(folder)
    if here == version.version_id:
        return False
    if here is not None and instead and version.version_id <= here:
        return False
    directory = folder / version.version_id
    if not directory.is_dir():
        try:
            copies.copy(version, directory, progress)
        except NotFound as error:
            # It was removed while it was fetched, so there is a newer one.
            raise Damaged(error.message, kind="missing-object") from error
    return True


def _tidy(parts: Parts, copies: Copies) -> None:
    """Remove the copies that nobody needs any more, but for what the next one is made of."""
    with _alone_in(copies.folder) as alone:
        _remove_old(parts, copies, alone=alone)


def _prepare_next(copies: Copies) -> None:
    """Have a spare copy, where other followers know that it is one, and what a dead one left."""
    here = current(copies.folder)
    if here is None or copies.has_prepared(here):
        return
    with _alone_in(copies.folder) as alone:
        if alone:
            copies.prepare(here)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Let the followers of a folder move one after the other; tell whether that could be had.

    The lock is on the folder itself and goes with its process. File systems of other machines
    may not have it: then followers are as safe, and nobody can tell what a dead one has left.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        alone = False
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            alone = True
        yield alone
    finally:
        os.close(descriptor)


def current(folder: Path) -> str | None:
    """Give the id of the version that a folder is at; None before the first."""
    link = folder / CURRENT
    return link.readlink().name if link.is_symlink() and link.is_dir() else None


def _prepare(parts: Parts, collection: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    strangers = [p.name for p in folder.iterdir() if not _is_own(p)]
    if strangers:
        raise Conflict(
            f"{folder} has {', '.join(sorted(strangers)[:3])} in it, which is no copy of a version",
            kind="not-a-copy",
            hint="name a folder that does not exist yet",
        )
    _claim(parts, collection, folder)


def _claim(parts: Parts, collection: str, folder: Path) -> None:
    """Refuse a folder whose readers expect another collection."""
    mine = f"{collection} of vault {parts.checkouts.vault_id}\n"
    with _alone_in(folder):
        path = folder / _FOLLOWS
        try:
            found = path.read_text() if path.exists() else ""
            if not found:
                write_whole(path, mine, parts.ids)
        except (OSError, ValueError) as error:
            raise cannot_write(path, OSError(str(error))) from error
    if found and found != mine:
        theirs, _, vault = found.strip().partition(" of vault ")
        same = vault == parts.checkouts.vault_id
        raise Conflict(
            f"{folder} keeps copies of {theirs if same else found.strip()}, not of "
            f"{collection if same else mine.strip()}",
            kind="not-a-copy",
            hint="name a folder that does not exist yet",
        )


def _is_own(path: Path) -> bool:
    return path.name == CURRENT or path.name.startswith(".") or _id_of(path.name) is not None


def _id_of(name: str) -> VersionId | None:
    try:
        return parse(name)
    except Damaged:
        return None


def _point(parts: Parts, folder: Path, version_id: str) -> None:
    temporary = folder / f".{parts.ids.unique()}"
    try:
        temporary.symlink_to(version_id, target_is_directory=True)
        temporary.replace(folder / CURRENT)
        sync(folder)
    except OSError as error:
        raise cannot_write(folder / CURRENT, error) from error


def _remove_old(parts: Parts, copies: Copies, *, alone: bool) -> None:
    folder = copies.folder
    there = sorted(path for path in folder.iterdir() if _id_of(path.name) is not None)
    for old in there[:-_KEPT_COPIES]:
        needed = old.name == current(folder) or parts.open_files.holders(old)
        if needed or (alone and copies.use_again(old)):
            continue
        # Processes of other containers are seen by this only.
        if not parts.file_system.open_anywhere(old):
            shutil.rmtree(old, ignore_errors=True)


def _remove_unfinished(parts: Parts, folder: Path, spare: Path | None) -> None:
    """Remove what a follower was making when it died; only while no other one can be making it.

    A spare copy stays: this process's own, and others' because they have a file of it open.
    """
    for path in folder.iterdir():
        if path == spare:
            continue
        if _is_temporary_link(path):
            path.unlink(missing_ok=True)
        copied = name_of_unfinished(path)
        if copied and _id_of(copied) and not parts.open_files.holders(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_temporary_link(path: Path) -> bool:
    named = _TEMPORARY_LINK.fullmatch(path.name) is not None and path.is_symlink()
    return named and _id_of(str(path.readlink())) is not None
