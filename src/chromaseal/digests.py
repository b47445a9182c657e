"""BLAKE3 digests: of bytes, of files, of a file's pages.

A file's digest is the digest of its pages' digests, so that a page, a file, a layer and a
version are one chain, and a changed page does not ask for the whole file to be read again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from blake3 import blake3

PAGE_SIZE_BYTES = 4096
# Of a page: 128 bits are beyond accident, and half of them would be half of what small diffs weigh.
DIGEST_SIZE_BYTES = 16
_BLOCK_BYTES = 1024 * PAGE_SIZE_BYTES


def blake3_hex(data: bytes | memoryview) -> str:
    """Give the BLAKE3 digest of bytes as 64 hexadecimal digits."""
    return blake3(data).hexdigest()


def blake3_file_hex(path: Path) -> str:
    """Give the BLAKE3 digest of a file's content as 64 hexadecimal digits."""
    hasher = blake3()
    hasher.update_mmap(path)
    return hasher.hexdigest()


def page_digests(data: bytes | memoryview) -> bytes:
    """Digest each page of a file's content.

    Args:
        data: the content; the last page may be shorter than ``PAGE_SIZE_BYTES``.

    Returns:
        16 bytes per page, in order.
    """
    return digests_at(data, range(0, len(data), PAGE_SIZE_BYTES))


def digests_at(data: bytes | memoryview, starts: Iterable[int]) -> bytes:
    """Digest the pages that start at some places of a file's content.

    Returns:
        16 bytes per page, in order.
    """
    # One hasher for all pages, on one thread: a new one per page takes a fifth longer, and two
    # threads hand the interpreter's lock back and forth at every page, at half the speed.
    view, hasher, found = memoryview(data), blake3(), []
    for start in starts:
        hasher.update(view[start : start + PAGE_SIZE_BYTES])
        found.append(hasher.digest(DIGEST_SIZE_BYTES))
        hasher.reset()
    return b"".join(found)


def file_page_digests(path: Path) -> bytes:
    """Digest each page of a file, without holding more than a few MiB of it.

    Returns:
        16 bytes per page, in order.
    """
    with path.open("rb") as file:
        return b"".join(map(page_digests, iter(lambda: file.read(_BLOCK_BYTES), b"")))


def pages_in(size_bytes: int) -> int:
    """Give how many pages that many bytes take."""
    return -(-size_bytes // PAGE_SIZE_BYTES)


def file_digest_hex(digests_of_pages: bytes) -> str:
    """Give a file's digest from the digests of its pages, as ``page_digests`` makes them."""
    return blake3(digests_of_pages).hexdigest()


def chain_hex(parts: Iterable[str]) -> str:
    """Digest texts so that no two different sequences give the same bytes to digest."""
    hasher = blake3()
    for part in parts:
        raw = part.encode()
        hasher.update(len(raw).to_bytes(8, "little"))
        hasher.update(raw)
    return hasher.hexdigest()
