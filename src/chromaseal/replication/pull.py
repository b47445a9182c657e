"""A version -> a directory of somebody's, in one step beside what is there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chromaseal.errors import Conflict, Damaged, NotFound, RefusedInput
from chromaseal.parts import Parts
from chromaseal.replication.origins import Origin, origin_of, origins_of, stamps_of_all
from chromaseal.sandbox import Progress, no_progress
from chromaseal.seal.page_table import FileStamp, stamp_of
from chromaseal.seal.quiet import DATABASE
from chromaseal.seal.sealed import changed_while_reading, refuse_open, seal
from chromaseal.seal.verify import verify
from chromaseal.snapshot.checkout import (
    absolute,
    cannot_write,
    check_file,
    is_occupied,
    sync_tree,
    taking_name,
    unfinished_beside,
)
from chromaseal.snapshot.find import VersionName, find
from chromaseal.snapshot.history import load
from chromaseal.snapshot.kept import Kept
from chromaseal.snapshot.manifest import Version
from chromaseal.stopwatch import Stopwatch


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of a directory that was to be brought to a version.

    Attributes:
        version: the version that it has now.
        new: False if it had it already.
        durations_s: seconds by step.
    """

    version: Version
    new: bool
    durations_s: Mapping[str, float] = field(default_factory=dict)


def pull(
    parts: Parts,
    collection: str,
    directory: Path,
    *,
    at: VersionName = "",
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Pulled:
    """Bring a directory to a version: from nothing, or from a version that was pulled before.

    The new content appears in one step; whoever dies before it leaves the old one.

    Args:
        parts: what the vault consists of.
        collection: whose version.
        directory: where to.
        at: a number, an id, a tag or a time; the newest by default.
        overwrite: replace the ChromaDB directory that is there, whatever is in it.
        progress: called with fetched and all bytes.

    Raises:
        Conflict: ``not-a-copy``, something else is in the directory; ``changed-locally``,
            records in it were changed since; ``still-open``.
        RefusedInput: ``not-chromadb``, what is to be overwritten is no ChromaDB directory.
        NotFound: ``no-version`` or ``removed-version``.
        Damaged: the version cannot be fetched whole.
    """
    watch = Stopwatch(parts.clock)
    directory = absolute(directory)
    version = find(parts.store, collection, at, clock=parts.clock)
    origins = origins_of(parts, collection)
    # What is remembered is of the directory itself, and a link to it is not replaced by one.
    origin = None if directory.is_symlink() else origins.read(directory)
    if is_occupied(directory):
        if origin is None and not overwrite:
            raise _not_a_copy(collection, directory)
        if overwrite:
            _refuse_foreign(directory)
        # After what tells whose directory it is: this very process may have a vault's files open.
        refuse_open(directory, parts.open_files)
        there = origin is not None and origin.untouched(directory)
        if there and origin is not None and origin.version_id == version.version_id:
            return Pulled(version, new=False)
    with watch.step("fetch"):
        kept = _bring(parts, version, at, progress)
    # Fetching may take an hour, in which an application may have come, written and gone.
    old = _Old(parts, directory, origin, occupied=is_occupied(directory))
    if old.occupied and not overwrite:
        with watch.step("compare"):
            old.refuse_changed(collection)
    with watch.step("place"), origins.locked(directory), _beside(directory, parts) as unfinished:
        kept = _fill(unfinished, kept, old, lambda: _bring_anew(parts, kept.version, at, progress))
        placed = stamps_of_all(unfinished)
        old.give_way(unfinished)
        now_ns = int(parts.clock.now().timestamp() * 1e9)
        stamps = _same_content(placed, directory)
        origins.write(directory, origin_of(kept.version, stamps, now_ns))
    return Pulled(kept.version, new=True, durations_s=watch.durations_s)


def _same_content(placed: Mapping[str, FileStamp], directory: Path) -> dict[str, FileStamp]:
    """Give the stamps of files that appeared, for those that nobody has written to since.

    Appearing changes the time of a file's last change, where the old directory shared it; what
    was written since keeps its older stamp, and so counts as touched.
    """
    stamps = dict(placed)
    for path, stamp in placed.items():
        with contextlib.suppress(OSError):
            now = stamp_of((directory / path).stat())
            stamps[path] = now if now.same_content(stamp) else stamp
    return stamps


def _bring(parts: Parts, version: Version, at: VersionName, progress: Progress) -> Kept:
    """Fetch a version; where it was removed meanwhile, the one that has its name now."""
    while True:
        try:
            return parts.checkouts.bring(version, progress=progress)
        except NotFound:
            now = find(parts.store, version.manifest.collection, at, clock=parts.clock)
            if now.version_id == version.version_id:
                raise
            version = now


def _bring_anew(parts: Parts, version: Version, at: VersionName, progress: Progress) -> Kept:
    """Fetch a version of which what is kept is bad, or was thrown away by another process."""
    parts.checkouts.forget(version)
    return _bring(parts, version, at, progress)


def _refuse_foreign(directory: Path) -> None:
    # A vault, a folder of documents, a folder that `follow` keeps: whoever typed their name here
    # did not mean it.
    if not (directory / DATABASE).is_file():
        raise RefusedInput(
            f"{directory} is no ChromaDB directory: it has no {DATABASE}, and --overwrite replaces "
            "nothing else",
            kind="not-chromadb",
            hint="name a directory that does not exist yet",
        )


class _Old:
    """What stands where a version is to go.

    Args:
        parts: what the vault consists of.
        directory: where that is.
        origin: what is remembered of it.
        occupied: whether there is anything.
    """

    def __init__(
        self, parts: Parts, directory: Path, origin: Origin | None, *, occupied: bool
    ) -> None:
        self.occupied = occupied
        self._parts = parts
        self._directory = directory
        self._origin = origin
        self._compared: Mapping[str, FileStamp] | None = None
        self._shared: Mapping[str, FileStamp] = {}

    def refuse_changed(self, collection: str) -> None:
        """Refuse to replace a directory unless its records are those of the version it came from.

        Opening ChromaDB changes the files, so records are compared where bytes may differ.

        Raises:
            Conflict: ``changed-locally``, ``not-a-copy`` or ``still-open``.
        """
        parts, directory, origin = self._parts, self._directory, self._origin
        if origin is None:
            raise _not_a_copy(collection, directory)
        if origin.untouched(directory):
            self._compared = origin.stamps
            return
        try:
            before = load(parts.store, collection, origin.version_id)
            sealed = seal(directory, open_files=parts.open_files, clock=parts.clock)
            found = verify(sealed, sandbox=parts.sandbox).collections
        except Damaged as error:
            raise _changed_locally(directory, error.message) from error
        if set(found) != set(before.manifest.collections):
            raise _changed_locally(directory, "its records are not those of the version it was")
        self._compared = sealed.stamps

    def share(self, kept: Kept, unfinished: Path) -> frozenset[str]:
        """Link to the files that a version has too; give their paths.

        The old directory goes, so nobody else can write to a file that is shared with it.
        """
        self._shared = self._unchanged_in(kept)
        for path in self._shared:
            target = unfinished / path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(self._directory / path, target)
        return frozenset(self._shared)

    def give_way(self, unfinished: Path) -> None:
        """Let another directory take the place in one step; that one then is the old one.

        Raises:
            Conflict: ``changed-locally``, ``changed-while-reading`` or ``still-open``: somebody
                has come since everything was compared.
        """
        sync_tree(unfinished)
        if not self.occupied:
            with taking_name(self._directory, durable=True):
                unfinished.replace(self._directory)
            return
        refuse_open(self._directory, self._parts.open_files)
        self._refuse_written(unfinished)
        with taking_name(self._directory, durable=True):
            self._parts.exchange(self._directory, unfinished)
        for path in self._shared:
            # At once, because it changes the stamps of the files that are shared.
            (unfinished / path).unlink(missing_ok=True)

    def _unchanged_in(self, kept: Kept) -> dict[str, FileStamp]:
        old, origin = self._directory, self._origin
        if origin is None or not old.is_dir() or old.is_symlink():
            return {}
        wanted = {entry.path: entry.digest for entry in kept.version.manifest.files}
        try:
            stamps = stamps_of_all(old)
        except Damaged:
            return {}
        return {
            path: stamp
            for path, stamp in stamps.items()
            if origin.stamps.get(path) == stamp and origin.digests.get(path) == wanted.get(path)
        }

    def _refuse_written(self, unfinished: Path) -> None:
        for path, stamp in self._shared.items():
            if not stamp_of((unfinished / path).stat()).same_content(stamp):
                raise changed_while_reading(self._directory / path)
        if self._compared is None:
            return
        try:
            now = stamps_of_all(self._directory)
        except (Damaged, OSError) as error:
            raise _changed_locally(self._directory, str(error)) from error
        # Files that were linked to have another time of their last change, so that is left out.
        same = now.keys() == self._compared.keys() and all(
            stamp.same_content(self._compared[path]) for path, stamp in now.items()
        )
        if not same:
            raise _changed_locally(self._directory, "something wrote to it a moment ago")


@contextlib.contextmanager
def _beside(directory: Path, parts: Parts) -> Iterator[Path]:
    """Give a name for a directory to make; whatever has it in the end goes."""
    unfinished = unfinished_beside(directory, parts.ids)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
    except OSError as error:
        raise cannot_write(directory, error) from error
    finally:
        _remove(unfinished)


def _remove(path: Path) -> None:
    """Remove what is at a place; it may be anything that was to be overwritten."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _fill(unfinished: Path, kept: Kept, old: _Old, bring_anew: Callable[[], Kept]) -> Kept:
    """Make a private copy of what is kept, or of what is fetched in its place; give which it was.

    What is kept is a convenience: a bad or vanishing one is fetched anew.
    """
    try:
        _copy(unfinished, kept, old)
    except Damaged:
        _remove(unfinished)
        kept = bring_anew()
        _copy(unfinished, kept, old)
    return kept


def _copy(unfinished: Path, kept: Kept, old: _Old) -> None:
    unfinished.mkdir()
    shared = old.share(kept, unfinished)
    manifest = kept.version.manifest
    for entry in manifest.files:
        if entry.path not in shared:
            _copy_file(kept, entry.path, unfinished)
            # What was kept may have gone and come back in another form in the middle of it.
            check_file(manifest, entry, unfinished)


def _copy_file(kept: Kept, path: str, unfinished: Path) -> None:
    try:
        kept.copy_file(path, unfinished / path)
    except OSError as error:
        raise Damaged(f"{kept.folder} cannot be copied: {error}", kind="bad-file") from error


def _not_a_copy(collection: str, directory: Path) -> Conflict:
    return Conflict(
        f"{directory} is there and was not brought from {collection} by this machine",
        kind="not-a-copy",
        hint="name a directory that does not exist yet, or say --overwrite to replace it",
    )


def _changed_locally(directory: Path, why: str) -> Conflict:
    return Conflict(
        f"{directory} was changed since it was pulled: {why}",
        kind="changed-locally",
        hint="publish it with `chromaseal push`, or say --overwrite to lose the changes",
    )
