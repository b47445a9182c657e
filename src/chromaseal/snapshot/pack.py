"""A sealed directory -> the frames of a base, or of the diff from an earlier version.

A page of a diff is stored as it is or as XOR with the page before, whichever is smaller: an
insert changes a few integers in each index page that it touches, and their XOR is almost all
zeros; a page of SQLite is mostly smaller as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

from chromaseal.digests import DIGEST_SIZE_BYTES, PAGE_SIZE_BYTES, page_digests
from chromaseal.seal.page_table import PageTable, Tables, differing_pages, digest_rows
from chromaseal.seal.sealed import FILE_CHANGED, Sealed, SealedFile, changed_while_reading
from chromaseal.snapshot.kept import Kept
from chromaseal.snapshot.layer import FRAME_PAGES, RAW, XOR, PackedPages, Pages, pack
from chromaseal.snapshot.page_file import PageFile

# Of a page's 4,096 bytes; what differs in more of them is not worth sorting among the sparse ones.
_SPARSE_BYTES = 1024
# A base is written seldom and is large; diffs are small and written, folded and kept for long.
BASE_LEVEL = 3
DIFF_LEVEL = 9
_TRIAL_LEVEL = 1
_BASE_FRAME_PAGES = 256
_SAMPLES = 32
_SAMPLE_PAGES = 16


def pack_base(sealed: Sealed) -> Iterator[PackedPages]:
    """Pack every page of a directory.

    Raises:
        Conflict: ``changed-while-reading``, the directory is not what was sealed.
    """
    for file in sealed.files:
        count = len(file.table.digests) // DIGEST_SIZE_BYTES
        with _sealed_reader(sealed, file) as reader:
            for first in range(0, count, _BASE_FRAME_PAGES):
                pages = np.arange(first, min(first + _BASE_FRAME_PAGES, count), dtype=np.int64)
                content, digests = reader.read(pages), reader.digests(pages)
                yield pack(file.path, RAW, pages, content, digests, level=BASE_LEVEL)


def pack_diff(sealed: Sealed, before: Tables, kept: Kept | None) -> Iterator[PackedPages]:
    """Pack the pages that changed.

    Args:
        sealed: the directory.
        before: the pages of the version that the diff leads from.
        kept: that version's files; without them all pages are stored as they are.

    Raises:
        Conflict: ``changed-while-reading``, the directory is not what was sealed.
    """
    for file in sealed.files:
        old = before.get(file.path)
        pages = differing_pages(old, file.table)
        if not len(pages):
            continue
        with _sealed_reader(sealed, file) as new:
            earlier = _earlier(file.path, old, kept)
            if earlier is None:
                yield from _pack_raw(file.path, pages, new)
                continue
            with earlier:
                yield from _pack_changed(file.path, pages, new, earlier)


def changed_pages(sealed: Sealed, before: Tables) -> int:
    """Count the pages that a diff will have."""
    return sum(len(differing_pages(before.get(f.path), f.table)) for f in sealed.files)


def estimate_packed_bytes(sealed: Sealed) -> int:
    """Estimate what a base of a directory would take, from samples of its pages."""
    return sum(_estimate(sealed, f) for f in sealed.files)


class _Reader:
    """Reads pages of a file and checks that they are what its table says; a context manager."""

    def __init__(self, file: PageFile, table: PageTable) -> None:
        self._file = file
        self._table = table

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def digests(self, pages: Pages) -> bytes:
        """Give the digests that the pages should have."""
        return digest_rows(self._table.digests)[pages].tobytes()

    def whole(self, pages: Pages) -> NDArray[np.bool_]:
        """Say which pages the file has in full length."""
        return (pages + 1) * PAGE_SIZE_BYTES <= self._table.size_bytes

    def read(self, pages: Pages) -> bytes:
        """Read pages.

        Raises:
            Conflict: ``changed-while-reading``.
        """
        content = self.read_sound(pages)
        if content is None:
            raise changed_while_reading(self._file.path)
        return content

    def read_sound(self, pages: Pages) -> bytes | None:
        """Read pages; None if they are not what the table says."""
        content = self._file.read(pages)
        return content if page_digests(content) == self.digests(pages) else None


def _sealed_reader(sealed: Sealed, file: SealedFile) -> _Reader:
    path = sealed.directory / file.path
    try:
        return _Reader(PageFile(path), file.table)
    except FILE_CHANGED as error:
        raise changed_while_reading(path) from error


def _earlier(path: str, old: PageTable | None, kept: Kept | None) -> _Reader | None:
    if old is None or kept is None:
        return None
    try:
        return _Reader(kept.open(path), old)
    except FILE_CHANGED:
        # What is kept may be replaced by something newer at any time.
        return None


def _pack_raw(path: str, pages: Pages, new: _Reader) -> Iterator[PackedPages]:
    for start in range(0, len(pages), FRAME_PAGES):
        part = pages[start : start + FRAME_PAGES]
        yield pack(path, RAW, part, new.read(part), new.digests(part), level=DIFF_LEVEL)


def _pack_changed(path: str, pages: Pages, new: _Reader, earlier: _Reader) -> Iterator[PackedPages]:
    """Pack pages of a file that was there before.

    Sparse differences come together, so that a frame has pages of one sort.
    """
    is_whole = new.whole(pages) & earlier.whole(pages)
    both = pages[is_whole]
    sparse = [
        _sparse(both[i : i + FRAME_PAGES], new, earlier) for i in range(0, len(both), FRAME_PAGES)
    ]
    is_sparse = np.concatenate([*sparse, np.zeros(0, dtype=np.bool_)])
    for sort in (both[is_sparse], both[~is_sparse]):
        for start in range(0, len(sort), FRAME_PAGES):
            yield _pack_smaller(path, sort[start : start + FRAME_PAGES], new, earlier)
    yield from _pack_raw(path, pages[~is_whole], new)


def _sparse(pages: Pages, new: _Reader, earlier: _Reader) -> NDArray[np.bool_]:
    before = earlier.read_sound(pages)
    if before is None:
        return np.zeros(len(pages), dtype=np.bool_)
    difference = _xor(new.read(pages), before).reshape(len(pages), -1)
    return np.asarray(np.count_nonzero(difference, axis=1) < _SPARSE_BYTES)


def _pack_smaller(path: str, pages: Pages, new: _Reader, earlier: _Reader) -> PackedPages:
    content, digests = new.read(pages), new.digests(pages)
    before = earlier.read_sound(pages)
    if before is None:
        # The copy kept here has gone bad; what is stored as it is does not depend on it.
        return pack(path, RAW, pages, content, digests, level=DIFF_LEVEL)
    difference = _xor(content, before).tobytes()
    # Which is smaller shows at the fastest level too; the slow one is for the winner alone.
    raw = pack(path, RAW, pages, content, digests, level=_TRIAL_LEVEL)
    xor = pack(path, XOR, pages, difference, digests, level=_TRIAL_LEVEL)
    if len(raw.body) <= len(xor.body):
        return pack(path, RAW, pages, content, digests, level=DIFF_LEVEL)
    return pack(path, XOR, pages, difference, digests, level=DIFF_LEVEL)


def _xor(first: bytes, second: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(first, dtype=np.uint8) ^ np.frombuffer(second, dtype=np.uint8)


def _estimate(sealed: Sealed, file: SealedFile) -> int:
    count = len(file.table.digests) // DIGEST_SIZE_BYTES
    if not count:
        return 0
    starts = sorted({count * i // _SAMPLES for i in range(_SAMPLES)})
    content_bytes = packed_bytes = 0
    with _sealed_reader(sealed, file) as reader:
        for first in starts:
            pages = np.arange(first, min(first + _SAMPLE_PAGES, count), dtype=np.int64)
            content = reader.read(pages)
            packed = pack(file.path, RAW, pages, content, b"", level=BASE_LEVEL)
            content_bytes += len(content)
            packed_bytes += len(packed.body)
    digests_bytes = count * DIGEST_SIZE_BYTES
    return round(file.table.size_bytes * packed_bytes / content_bytes) + digests_bytes
