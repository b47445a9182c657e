"""A file and an earlier copy of it -> the digests of its pages, hashing only what differs.

Comparing bytes runs several times faster than hashing them, so the digests of pages that are
still the same are taken over.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from chromaseal.digests import DIGEST_SIZE_BYTES, PAGE_SIZE_BYTES, page_digests
from chromaseal.seal.page_table import PageTable

_BLOCK_PAGES = 256
_BLOCK_BYTES = _BLOCK_PAGES * PAGE_SIZE_BYTES


def compared_digests(path: Path, earlier: Path, known: PageTable) -> bytes:
    """Give the digests of a file's pages.

    Args:
        path: the file.
        earlier: an earlier copy of it.
        known: the pages of the earlier copy.

    Returns:
        16 bytes per page, in order.
    """
    digests = bytearray()
    block, before = bytearray(_BLOCK_BYTES), bytearray(_BLOCK_BYTES)
    with path.open("rb", buffering=0) as file, earlier.open("rb", buffering=0) as old:
        while size := file.readinto(block):
            old_size = old.readinto(before) or 0
            start = len(digests)
            same = known.digests[start : start + _BLOCK_PAGES * DIGEST_SIZE_BYTES]
            if size == old_size == _BLOCK_BYTES and block == before:
                digests += same
            else:
                digests += _block_digests(block[:size], before[:old_size], same)
    return bytes(digests)


def _block_digests(block: bytearray, before: bytearray, same: bytes) -> bytes:
    whole = min(len(block), len(before)) // PAGE_SIZE_BYTES
    pages = _pages(block, whole)
    changed = (pages != _pages(before, whole)).any(axis=1)
    digests = bytearray(same[: whole * DIGEST_SIZE_BYTES])
    for page in np.flatnonzero(changed).tolist():
        at, content = page * DIGEST_SIZE_BYTES, page * PAGE_SIZE_BYTES
        digests[at : at + DIGEST_SIZE_BYTES] = page_digests(
            memoryview(block)[content : content + PAGE_SIZE_BYTES]
        )
    return bytes(digests) + page_digests(memoryview(block)[whole * PAGE_SIZE_BYTES :])


def _pages(block: bytearray, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    words = np.frombuffer(block, dtype=np.uint64, count=count * PAGE_SIZE_BYTES // 8)
    return words.reshape(count, PAGE_SIZE_BYTES // 8)
