"""Directories that appear whole: made under another name, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chromaseal.digests import file_digest_hex, file_page_digests
from chromaseal.errors import Conflict, Damaged
from chromaseal.ids import Ids
from chromaseal.snapshot.manifest import Manifest


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
        unfinished.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def unfinished_beside(target: Path, ids: Ids) -> Path:
    """Give a name for a directory that is to become ``target``."""
    return target.parent / f".{target.name}.{ids.unique()[:12]}.unfinished"


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
        path = directory / entry.path
        size_bytes = path.stat().st_size if path.is_file() else -1
        if size_bytes != entry.size_bytes or (
            file_digest_hex(file_page_digests(path)) != entry.digest
        ):
            raise Damaged(
                f"{entry.path} in {directory} is not what version {manifest.number} of "
                f"{manifest.collection} says",
                kind="bad-file",
            )


def sync_tree(directory: Path) -> None:
    """Wait until a directory with all that is in it would survive a power cut."""
    for path in (*directory.rglob("*"), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cannot_write(target: Path, error: OSError) -> Conflict:
    """Make the error for a directory that cannot be made."""
    return Conflict(
        f"{target} cannot be written: {error}",
        kind="cannot-write",
        hint="check free space and permissions; nothing was left behind",
    )
