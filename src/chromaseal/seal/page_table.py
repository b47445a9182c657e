"""What is known of a file without reading it: a digest per page, and when it was last so."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from chromaseal.digests import DIGEST_SIZE_BYTES, file_digest_hex
from chromaseal.seal.evidence import FileEntry

# A file written twice within one tick of the file system's clock looks unchanged, so what was
# written shortly before it was looked at is read again.
_RACY_NS = 1_000_000_000

NO_PAGES: NDArray[np.int64] = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class PageTable:
    """A file's size and the digests of its pages.

    Attributes:
        size_bytes: of the file.
        digests: 16 bytes per page, in order.
    """

    size_bytes: int
    digests: bytes

    def entry(self, path: str) -> FileEntry:
        """Give what a manifest says of the file."""
        return FileEntry(path, self.size_bytes, file_digest_hex(self.digests))


Tables: TypeAlias = Mapping[str, PageTable]


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What the file system says of a file; a write changes it.

    Attributes:
        size_bytes: of the file.
        modified_ns: when its content was last written.
        changed_ns: when its content, owner, mode or links last changed; nobody can set it back.
        inode: which file it is.
    """

    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int

    def same_content(self, other: FileStamp) -> bool:
        """Whether the content is the same, though links or owners may have changed."""
        mine = (self.size_bytes, self.modified_ns, self.inode)
        return mine == (other.size_bytes, other.modified_ns, other.inode)


def stamp_of(status: os.stat_result) -> FileStamp:
    """Take a file's stamp from what ``stat`` answered."""
    return FileStamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class Known:
    """A directory as it was at an earlier time.

    Attributes:
        directory: a copy of it that nobody writes.
        tables: its pages, by path.
        stale: by path, the pages that the copy has otherwise than ``tables`` says, ascending.
        stamps: of the files that are to be looked at again, from when they had these pages.
        stamped_at_ns: when those stamps were taken; in nanoseconds since 1970.
    """

    directory: Path
    tables: Tables
    stale: Mapping[str, NDArray[np.int64]]
    stamps: Mapping[str, FileStamp]
    stamped_at_ns: int

    def unchanged(self, path: str, stamp: FileStamp) -> bool:
        """Whether a file is as it was, going by its stamp alone."""
        same = self.stamps.get(path) == stamp
        return same and stamp.modified_ns + _RACY_NS < self.stamped_at_ns


def digest_rows(digests: bytes) -> NDArray[np.uint64]:
    """Give page digests as rows of two numbers, shape (pages, 2)."""
    return np.frombuffer(digests, dtype=np.uint64).reshape(-1, DIGEST_SIZE_BYTES // 8)


def differing_pages(old: PageTable | None, new: PageTable) -> NDArray[np.int64]:
    """Give the numbers of the pages that ``new`` has and ``old`` has not or has otherwise."""
    rows = digest_rows(new.digests)
    if old is None:
        return np.arange(len(rows), dtype=np.int64)
    before = digest_rows(old.digests)
    shared = min(len(rows), len(before))
    changed = np.flatnonzero((rows[:shared] != before[:shared]).any(axis=1))
    return np.concatenate([changed, np.arange(shared, len(rows))]).astype(np.int64)
