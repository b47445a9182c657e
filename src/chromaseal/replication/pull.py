"""A version -> a directory of somebody's, in one step beside what is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chromaseal.errors import Conflict, Damaged, NotFound
from chromaseal.parts import Parts
from chromaseal.replication.origins import Origin, origin_of, origins_of, stamps_of_all
from chromaseal.sandbox import Progress, no_progress
from chromaseal.seal.page_table import FileStamp
from chromaseal.seal.sealed import refuse_open, seal
from chromaseal.seal.verify import verify
from chromaseal.snapshot.checkout import (
    appearing_whole,
    cannot_write,
    is_occupied,
    sync_tree,
    unfinished_beside,
)
from chromaseal.snapshot.find import find
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
    at: str = "",
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
        overwrite: replace whatever is in the directory.
        progress: called with fetched and all bytes.

    Raises:
        Conflict: ``not-a-copy``, something else is in the directory; ``changed-locally``,
            records in it were changed since; ``still-open``.
        NotFound: ``no-version`` or ``removed-version``.
        Damaged: the version cannot be fetched whole.
    """
    watch = Stopwatch(parts.clock)
    version = find(parts.store, collection, at, clock=parts.clock)
    origins = origins_of(parts, collection)
    # What is remembered is of the directory itself, and a link to it is not replaced by one.
    origin = None if directory.is_symlink() else origins.read(directory)
    if is_occupied(directory):
        refuse_open(directory, parts.open_files)
        untouched = origin is not None and origin.untouched(directory)
        if untouched and origin is not None and origin.version_id == version.version_id:
            return Pulled(version, new=False)
        if not overwrite and not untouched:
            with watch.step("compare"):
                _refuse_changed(parts, collection, directory, origin)
    with watch.step("fetch"):
        kept = _bring(parts, version, at, progress)
        version = kept.version
    with watch.step("place"), _replacing(parts, directory) as unfinished:
        _fill(unfinished, kept, directory, origin)
        placed = stamps_of_all(unfinished)
    now_ns = int(parts.clock.now().timestamp() * 1e9)
    stamps = _same_content(placed, stamps_of_all(directory))
    origins.write(directory, origin_of(version, stamps, now_ns))
    return Pulled(version, new=True, durations_s=watch.durations_s)


def _same_content(
    before: Mapping[str, FileStamp], after: Mapping[str, FileStamp]
) -> dict[str, FileStamp]:
    """Give the stamps of files that appeared, for those that nobody has written to since.

    Appearing changes the time of a file's last change, where the old directory shared it; what
    was written since keeps its older stamp, and so counts as touched.
    """
    return {
        path: after[path] if path in after and after[path].same_content(stamp) else stamp
        for path, stamp in before.items()
    }


def _bring(parts: Parts, version: Version, at: str, progress: Progress) -> Kept:
    """Fetch a version; where it was removed meanwhile, the one that has its name now."""
    while True:
        try:
            return parts.checkouts.bring(version, progress=progress)
        except NotFound:
            now = find(parts.store, version.manifest.collection, at, clock=parts.clock)
            if now.version_id == version.version_id:
                raise
            version = now


@contextmanager
def _replacing(parts: Parts, directory: Path) -> Iterator[Path]:
    """Give the name of a directory to make, which takes the place of another one in one step."""
    if not is_occupied(directory):
        with appearing_whole(directory, parts.ids, durable=True) as unfinished:
            yield unfinished
        return
    unfinished = unfinished_beside(directory, parts.ids)
    try:
        yield unfinished
        sync_tree(unfinished)
        refuse_open(directory, parts.open_files)
        parts.exchange(directory, unfinished)
    except OSError as error:
        raise cannot_write(directory, error) from error
    finally:
        _remove(unfinished)


def _remove(path: Path) -> None:
    """Remove what is at a place; it may be anything that was to be overwritten."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _fill(unfinished: Path, kept: Kept, old: Path, origin: Origin | None) -> None:
    """Make a private copy of what is kept; files that the old directory has are shared with it.

    The old directory goes, so nobody else can write to a file that is shared with it.
    """
    unfinished.mkdir(parents=True)
    shared = _shared(kept, old, origin)
    for path in kept.tables:
        target = unfinished / path
        if path in shared:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(old / path, target)
        else:
            kept.copy_file(path, target)


def _shared(kept: Kept, old: Path, origin: Origin | None) -> frozenset[str]:
    if origin is None or not old.is_dir() or old.is_symlink():
        return frozenset()
    wanted = {entry.path: entry.digest for entry in kept.version.manifest.files}
    try:
        stamps = stamps_of_all(old)
    except Damaged:
        return frozenset()
    return frozenset(
        path
        for path, stamp in stamps.items()
        if origin.stamps.get(path) == stamp and origin.digests.get(path) == wanted.get(path)
    )


def _refuse_changed(parts: Parts, collection: str, directory: Path, origin: Origin | None) -> None:
    """Refuse to replace a directory unless its records are those of the version it came from.

    Opening ChromaDB changes the files, so records are compared, not bytes.
    """
    if origin is None:
        raise Conflict(
            f"{directory} is there and was not brought from {collection} by this machine",
            kind="not-a-copy",
            hint="name a directory that does not exist yet, or say --overwrite to replace it",
        )
    try:
        before = load(parts.store, collection, origin.version_id)
        sealed = seal(directory, open_files=parts.open_files, clock=parts.clock)
        same = verify(sealed, sandbox=parts.sandbox).records == before.manifest.records
    except Damaged as error:
        raise _changed_locally(directory, error.message) from error
    if not same:
        raise _changed_locally(directory, "its records are not those of the version it was")


def _changed_locally(directory: Path, why: str) -> Conflict:
    return Conflict(
        f"{directory} was changed since it was pulled: {why}",
        kind="changed-locally",
        hint="publish it with `chromaseal push`, or say --overwrite to lose the changes",
    )
