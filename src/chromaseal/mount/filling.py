"""A verified version of this machine -> a directory on a mount, with as little written as can be.

A file that another version has too is linked to. Where the file system can share parts of files,
one that has changed begins as the older one and has its changed pages written; elsewhere it is
written whole, because a link leads to the same bytes and must never be written through.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from chromaseal.digests import PAGE_SIZE_BYTES, page_digests, pages_in
from chromaseal.errors import Damaged
from chromaseal.mount.layout import MODIFIED_NS
from chromaseal.seal.page_table import digest_rows
from chromaseal.snapshot.kept import Kept
from chromaseal.snapshot.layer import Pages
from chromaseal.snapshot.page_file import read_pages, write_pages

_CHUNK_PAGES = 1024
_READ_ONLY = 0o444
_FICLONE = 0x40049409
# What is answered where links or shared parts are not to be had.
_NOT_HERE: Final = frozenset(
    {
        *(errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOSYS, errno.ENOTTY, errno.EINVAL),
        *(errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES),
    }
)

# Makes the second file, which is open and empty, share all parts of the first; False where it
# cannot.
Clone: TypeAlias = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a directory took.

    Attributes:
        written_bytes: written to the mount.
        shared_bytes: had from other versions.
    """

    written_bytes: int = 0
    shared_bytes: int = 0

    def __add__(self, other: Weighed) -> Weighed:
        """Put two together."""
        return Weighed(
            self.written_bytes + other.written_bytes, self.shared_bytes + other.shared_bytes
        )


@dataclass(frozen=True, slots=True)
class Older:
    """What of other versions a version can be made of.

    Attributes:
        same: by path, files that are the same.
        newest: the files of the version before, to begin changed ones with; None for the first.
    """

    same: Mapping[str, Path]
    newest: Path | None

    def beginning(self, path: str) -> Path | None:
        """Give the file that a file can share parts with."""
        return self.same.get(path) or (self.newest / path if self.newest else None)


def clone_file(source: int, target: int) -> bool:
    """Share all parts of an open file with another one, as Btrfs, XFS and NFS 4.2 can.

    Args:
        source: descriptor of the one.
        target: descriptor of the other, which is empty.

    Returns:
        False where the file system cannot do that.
    """
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return False
        raise
    return True


def fill(
    kept: Kept,
    older: Older,
    directory: Path,
    *,
    links: bool,
    on_bytes: Callable[[int], None],
    clone: Clone,
) -> Weighed:
    """Make a version's files in a directory, read-only and safe from a power cut.

    Args:
        kept: the version on this machine.
        older: what there is of it on the mount.
        directory: to be made; on the mount.
        links: whether what is the same is linked to.
        on_bytes: called with the bytes of each piece that is in place.
        clone: how files come to share their parts.

    Raises:
        Damaged: what is kept is not the version.
        OSError: the mount took something not.
    """
    directory.mkdir()
    filling, total = _Filling(kept, on_bytes, clone), Weighed()
    for path, table in kept.tables.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if links and path in older.same and _linked(older.same[path], target):
            on_bytes(table.size_bytes)
            total += Weighed(shared_bytes=table.size_bytes)
            continue
        total += filling.write(path, target, older.beginning(path))
    return total


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _NOT_HERE or isinstance(error, FileNotFoundError):
            return False
        raise
    return True


@dataclass(frozen=True, slots=True)
class _Filling:
    kept: Kept
    on_bytes: Callable[[int], None]
    clone: Clone

    def write(self, path: str, target: Path, begin: Path | None) -> Weighed:
        """Write a file, or what differs in it from one that it can share parts with."""
        size_bytes = self.kept.tables[path].size_bytes
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            begun = begin is not None and _begun(begin, descriptor, self.clone)
            os.ftruncate(descriptor, size_bytes)
            written_bytes = self._write_pages(path, descriptor, differing_only=begun)
            os.fchmod(descriptor, _READ_ONLY)
            os.fsync(descriptor)
            # After the last write has left this machine, or that would be the later change.
            os.utime(descriptor, ns=(MODIFIED_NS, MODIFIED_NS))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return Weighed(written_bytes, size_bytes - written_bytes)

    def _write_pages(self, path: str, descriptor: int, *, differing_only: bool) -> int:
        count, written_bytes = pages_in(self.kept.tables[path].size_bytes), 0
        with _opened(self.kept, path) as read:
            for first in range(0, count, _CHUNK_PAGES):
                pages = np.arange(first, min(first + _CHUNK_PAGES, count), dtype=np.int64)
                content = read(pages)
                wanted = _differing(descriptor, pages, content) if differing_only else pages
                chosen = _of_pages(content, wanted - first)
                write_pages(descriptor, wanted, chosen)
                written_bytes += len(chosen)
                self.on_bytes(len(content))
        return written_bytes


def _begun(older: Path, descriptor: int, clone: Clone) -> bool:
    try:
        source = os.open(older, os.O_RDONLY)
    except OSError:
        return False
    try:
        return clone(source, descriptor)
    finally:
        os.close(source)


@contextlib.contextmanager
def _opened(kept: Kept, path: str) -> Iterator[Callable[[Pages], bytes]]:
    """Give what reads pages of a kept file, each of which is checked."""
    rows = digest_rows(kept.tables[path].digests)
    try:
        file = kept.open(path)
    except OSError as error:
        # Another process of this machine may have thrown it away.
        raise _not_kept(kept, path, error) from error

    def read(pages: Pages) -> bytes:
        try:
            content = file.read(pages)
        except OSError as error:
            raise _not_kept(kept, path, error) from error
        if page_digests(content) != rows[pages].tobytes():
            raise _not_kept(kept, path, "pages of it have changed")
        return content

    with file:
        yield read


def _not_kept(kept: Kept, path: str, why: object) -> Damaged:
    return Damaged(f"{kept.folder} does not have {path} any more: {why}", kind="bad-file")


def _differing(descriptor: int, pages: Pages, content: bytes) -> Pages:
    there = read_pages(descriptor, pages)
    differs = [
        there[at : at + PAGE_SIZE_BYTES] != content[at : at + PAGE_SIZE_BYTES]
        for at in range(0, len(content), PAGE_SIZE_BYTES)
    ]
    return np.compress(differs, pages)


def _of_pages(content: bytes, at: Pages) -> bytes:
    starts = (at * PAGE_SIZE_BYTES).tolist()
    return b"".join(content[start : start + PAGE_SIZE_BYTES] for start in starts)
