"""A file and an earlier copy of it -> the digests of its pages, hashing only what differs.

Comparing bytes runs several times faster than hashing them, so the digests of pages that are
still the same are taken over. Large files are compared by several threads: reading and comparing
need no interpreter's lock.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chromaseal.digests import (
    DIGEST_SIZE_BYTES,
    PAGE_SIZE_BYTES,
    digests_at,
    page_digests,
    pages_in,
)
from chromaseal.seal.page_table import NO_PAGES, PageTable

_BLOCK_PAGES = 512
# What one thread takes at a time.
_SPAN_PAGES = 16 * _BLOCK_PAGES
_THREADS = 2


def compared_digests(
    path: Path, earlier: Path, known: PageTable, *, stale: NDArray[np.int64] = NO_PAGES
) -> bytes:
    """Give the digests of a file's pages.

    Args:
        path: the file.
        earlier: an earlier copy of it.
        known: the pages of the file at that time.
        stale: the pages that the copy has otherwise than ``known`` says, ascending.

    Returns:
        16 bytes per page, in order.
    """
    with path.open("rb", buffering=0) as file, earlier.open("rb", buffering=0) as old:
        comparison = _Comparison(file.fileno(), old.fileno(), known, stale)
        count = pages_in(os.fstat(file.fileno()).st_size)
        spans = [range(a, min(a + _SPAN_PAGES, count)) for a in range(0, count, _SPAN_PAGES)]
        if len(spans) == 1:
            return comparison.digests(spans[0])
        with ThreadPoolExecutor(_THREADS) as pool:
            return b"".join(pool.map(comparison.digests, spans))


@dataclass(frozen=True, slots=True, eq=False)
class _Comparison:
    """Two open files, and what is known of the earlier one."""

    file: int
    old: int
    known: PageTable
    stale: NDArray[np.int64]

    def digests(self, span: range) -> bytes:
        """Give the digests of neighbouring pages."""
        # Most files are smaller than a block, and clearing one takes longer than comparing them.
        size_bytes = min(len(span), _BLOCK_PAGES) * PAGE_SIZE_BYTES
        block, before = bytearray(size_bytes), bytearray(size_bytes)
        starts = range(span.start, span.stop, _BLOCK_PAGES)
        return b"".join(self._block(first, block, before) for first in starts)

    def _block(self, first: int, block: bytearray, before: bytearray) -> bytes:
        start = first * PAGE_SIZE_BYTES
        size_bytes = os.preadv(self.file, [block], start)
        old_bytes = os.preadv(self.old, [before], start)
        known_bytes = max(self.known.size_bytes - start, 0)
        # Pages that both have in full length can be the same.
        both = min(size_bytes, old_bytes, known_bytes) // PAGE_SIZE_BYTES
        at = first * DIGEST_SIZE_BYTES
        same = self.known.digests[at : at + both * DIGEST_SIZE_BYTES]
        lower, upper = np.searchsorted(self.stale, (first, first + both))
        changed = _changed(block, before, both)
        changed[self.stale[lower:upper] - first] = True
        rest = memoryview(block)[both * PAGE_SIZE_BYTES : size_bytes]
        return _replaced(same, block, np.flatnonzero(changed)) + page_digests(rest)


def _replaced(same: bytes, block: bytearray, changed: NDArray[np.int64]) -> bytes:
    if not len(changed):
        return same
    rows = np.frombuffer(bytearray(same), dtype=f"V{DIGEST_SIZE_BYTES}")
    hashed = digests_at(memoryview(block), (changed * PAGE_SIZE_BYTES).tolist())
    rows[changed] = np.frombuffer(hashed, dtype=rows.dtype)
    return rows.tobytes()


def _changed(block: bytearray, before: bytearray, count: int) -> NDArray[np.bool_]:
    """Say which pages differ, shape (count,)."""
    words = count * PAGE_SIZE_BYTES // 8
    differs = np.frombuffer(block, np.uint64, words) != np.frombuffer(before, np.uint64, words)
    # Eight answers at a time: looking for any takes longer than comparing.
    eights = differs.view(np.uint64).reshape(count, PAGE_SIZE_BYTES // 64)
    found: NDArray[np.bool_] = eights.any(axis=1)
    return found
