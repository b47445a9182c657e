"""Files that are read page by page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from chromaseal.digests import PAGE_SIZE_BYTES
from chromaseal.snapshot.layer import Pages, runs


def read_pages(descriptor: int, pages: Pages) -> bytes:
    """Read pages of an open file; see ``PageFile.read``."""
    return b"".join(
        os.pread(descriptor, count * PAGE_SIZE_BYTES, first * PAGE_SIZE_BYTES)
        for first, count in runs(pages)
    )


def write_pages(descriptor: int, pages: Pages, content: bytes) -> None:
    """Write pages of an open file.

    Args:
        descriptor: of the file.
        pages: their numbers, ascending.
        content: theirs, one after the other; only the last may be short.
    """
    view, at = memoryview(content), 0
    for first, count in runs(pages):
        size_bytes = count * PAGE_SIZE_BYTES
        os.pwrite(descriptor, view[at : at + size_bytes], first * PAGE_SIZE_BYTES)
        at += size_bytes


class PageFile:
    """A file; use as a context manager.

    Args:
        path: the file.

    Raises:
        OSError: as ``open`` does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def read(self, pages: Pages) -> bytes:
        """Read pages as they are now.

        Args:
            pages: their numbers, ascending.

        Returns:
            4,096 bytes per page, less where the file ends before.
        """
        return read_pages(self._file.fileno(), pages)


class PatchedFile(PageFile):
    """A file some of whose pages stand, as they have become, in another file.

    Args:
        path: the file.
        newer: the other file, with 4,096 bytes for each of those pages.
        first: from which page on it has them.
        stale: their numbers, ascending.
        size_bytes: of the file with those pages in place.
    """

    def __init__(self, path: Path, newer: Path, first: int, stale: Pages, size_bytes: int) -> None:
        super().__init__(path)
        try:
            self._newer = PageFile(newer)
        except OSError:
            super().close()
            raise
        self._first = first
        self._stale = stale
        self._size_bytes = size_bytes

    def close(self) -> None:
        """Close both files."""
        super().close()
        self._newer.close()

    def read(self, pages: Pages) -> bytes:
        """Read pages as they have become; see ``PageFile.read``."""
        at = np.searchsorted(self._stale, pages)
        newer = np.isin(pages, self._stale, assume_unique=True)
        content = np.empty((len(pages), PAGE_SIZE_BYTES), dtype=np.uint8)
        content[newer] = _rows(self._newer.read(self._first + at[newer]), int(newer.sum()))
        content[~newer] = _rows(super().read(pages[~newer]), int((~newer).sum()))
        return content.tobytes()[: size_of_pages(pages, self._size_bytes)]


def size_of_pages(pages: Pages, size_bytes: int) -> int:
    """Give how many bytes ascending pages have in a file of that size, whose last may be short."""
    beyond = max((int(pages[-1]) + 1) * PAGE_SIZE_BYTES - size_bytes, 0) if len(pages) else 0
    return len(pages) * PAGE_SIZE_BYTES - beyond


def _rows(content: bytes, count: int) -> NDArray[np.uint8]:
    padded = content.ljust(count * PAGE_SIZE_BYTES, b"\0")
    return np.frombuffer(padded, dtype=np.uint8).reshape(count, PAGE_SIZE_BYTES)
