"""Directories that appear whole: made under another name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chromaseal.digests import file_digest_hex, file_page_digests
from chromaseal.errors import Conflict, Damaged, Unavailable
from chromaseal.ids import Ids
from chromaseal.seal.evidence import FileEntry
from chromaseal.snapshot.manifest import Manifest

_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{12}\.unfinished")


@contextmanager
def appearing_whole(target: Path, ids: Ids, *, durable: bool) -> Iterator[Path]:
    """Give the name of a directory to make, which becomes ``target`` when the block ends well.

    Args:
        target: must not exist or be an empty directory.
        ids: for the name of the unfinished directory beside it.
        durable: whether it is to survive a power cut.

    Raises:
        Conflict: ``directory-not-empty`` or ``cannot-write``; nothing is left behind.
    """
    refuse_occupied(target)
    unfinished = unfinished_beside(target, ids)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        if durable:
            sync_tree(unfinished)
        with taking_name(target, durable=durable):
            unfinished.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def taking_name(target: Path, *, durable: bool) -> Iterator[None]:
    """Do what is to be done where the block gives a name to another directory.

    Args:
        target: the name.
        durable: whether the directory is to have it after a power cut, too.
    """
    left = _is_current(target)
    yield
    if left:
        # The directory that this process stands in goes, and relative paths would with it.
        os.chdir(target)
    if durable:
        sync(target.parent)


def _is_current(directory: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(directory.lstat(), Path().stat())
    return False


def absolute(directory: Path) -> Path:
    """Give a directory's absolute path, whose last part is a name that can be given away.

    A link is not followed: what is to take its place takes that of the link itself.
    """
    return directory.resolve() if directory.name in {"", ".."} else directory.absolute()


def unfinished_beside(target: Path, ids: Ids) -> Path:
    """Give a name for a directory that is to become ``target``."""
    return target.parent / f".{target.name}.{ids.unique()[:12]}.unfinished"


def name_of_unfinished(path: Path) -> str | None:
    """Give the name that an unfinished directory was to have; None for anything else."""
    found = _UNFINISHED.fullmatch(path.name)
    return found[1] if found and path.is_dir() and not path.is_symlink() else None


def refuse_occupied(target: Path) -> None:
    """Refuse a directory that has something in it.

    Raises:
        Conflict: ``directory-not-empty``.
    """
    if is_occupied(target):
        raise Conflict(
            f"{target} is there and not empty",
            kind="directory-not-empty",
            hint="name a directory that does not exist yet",
        )


def is_occupied(target: Path) -> bool:
    """Whether something is at a place that a new directory could not simply take."""
    if target.is_symlink():
        return True
    return target.exists() and (not target.is_dir() or any(target.iterdir()))


def check_files(manifest: Manifest, directory: Path) -> None:
    """Check that a directory has the files of a manifest and no other.

    Raises:
        Damaged: ``bad-file``, with its name.
    """
    entries = {entry.path for entry in manifest.files}
    for path in directory.rglob("*"):
        listed = path.relative_to(directory).as_posix() in entries
        if path.is_symlink() or not (listed or path.is_dir()):
            raise Damaged(f"{path} is not of the version", kind="bad-file")
    for entry in manifest.files:
        check_file(manifest, entry, directory)


def check_file(manifest: Manifest, entry: FileEntry, directory: Path) -> None:
    """Check one file of a manifest.

    Raises:
        Damaged: ``bad-file``, with its name.
    """
    path = directory / entry.path
    size_bytes = path.stat().st_size if path.is_file() else -1
    if size_bytes != entry.size_bytes or file_digest_hex(file_page_digests(path)) != entry.digest:
        raise Damaged(
            f"{entry.path} in {directory} is not what version {manifest.number} of "
            f"{manifest.collection} says",
            kind="bad-file",
        )


def sync_tree(directory: Path) -> None:
    """Wait until a directory with all that is in it would survive a power cut."""
    for path in (*directory.rglob("*"), directory):
        sync(path)


def sync(path: Path) -> None:
    """Wait until a file's content, or a directory's names, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(target: Path, error: OSError) -> Conflict:
    """Make the error for a directory that cannot be made."""
    # Whoever copies a tree collects what went wrong: from, to and why, for each file.
    why = error.args[0][0][2] if isinstance(error, shutil.Error) and error.args[0] else error
    return Conflict(
        f"{target} cannot be written: {why}",
        kind="cannot-write",
        hint="check free space and permissions; nothing was left behind",
    )


def is_full(error: OSError) -> bool:
    """Tell whether it is for want of room that something cannot be written."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_full(message: str) -> Unavailable:
    """Make the error for what the cache's disk has no room for."""
    return Unavailable(
        message,
        kind="disk-full",
        hint="make room, or name a cache on another disk with CHROMASEAL_CACHE",
    )
