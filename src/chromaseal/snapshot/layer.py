"""A layer's bytes: compressed frames of pages, and a tail that says where each is.

A layer consists of one or more objects, its parts, each of the same form. The format is
described in ``docs/formats/layer.md``::

    frame, frame, ...   zstd frames, each up to 1,024 pages of one file
    index               a zstd frame: u32 length, JSON of that length, digests
    footer              u64 offset of the index, u64 its size, magic "CSLAYER2"
"""

from __future__ import annotations

import json
import operator
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

from chromaseal.digests import DIGEST_SIZE_BYTES, PAGE_SIZE_BYTES, blake3_hex, page_digests
from chromaseal.errors import Damaged
from chromaseal.seal.page_table import NO_PAGES
from chromaseal.snapshot.manifest import PartEntry, check_path

MAGIC = b"CSLAYER2"
FRAME_PAGES = 1024
RAW = "raw"
XOR = "xor"
_FRAME_BYTES = FRAME_PAGES * PAGE_SIZE_BYTES
_FRAME_DIGEST_BYTES = 32
_INDEX_LEVEL = 3
_INDEX_LIMIT_BYTES = 256 << 20
_LENGTH = struct.Struct("<I")
_FOOTER = struct.Struct("<QQ8s")

Pages = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Pages of one file.

    Attributes:
        path: the file.
        mode: ``raw``, the pages as they are, or ``xor``, as XOR with what was there before.
        pages: their numbers, from 0, ascending; shape (pages,).
        size_bytes: of the pages together; only a file's last page may be short.
        offset: where the compressed frame starts in its object.
        frame_size_bytes: of the compressed frame.
        digest: of the compressed frame.
        digests: 16 bytes per page, of the page as it becomes.
    """

    path: str
    mode: str
    pages: Pages
    size_bytes: int
    offset: int
    frame_size_bytes: int
    digest: bytes
    digests: bytes

    @property
    def end(self) -> int:
        """Give where the compressed frame ends in its object."""
        return self.offset + self.frame_size_bytes


@dataclass(frozen=True, slots=True, eq=False)
class PackedPages:
    """A frame before it has a place: see ``Frame``."""

    path: str
    mode: str
    pages: Pages
    size_bytes: int
    body: bytes
    digests: bytes


def pack(
    path: str, mode: str, pages: Pages, content: bytes, digests: bytes, *, level: int = 3
) -> PackedPages:
    """Compress up to ``FRAME_PAGES`` pages of a file, at a level of zstd."""
    body = zstandard.ZstdCompressor(level=level, write_content_size=True).compress(content)
    return PackedPages(path, mode, pages, len(content), body, digests)


class PartWriter:
    """Collects frames and gives the bytes of one object."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._frames: list[Frame] = []

    @property
    def size_bytes(self) -> int:
        """Give how large the object has become."""
        return len(self._body)

    def add(self, packed: PackedPages) -> None:
        """Add a frame."""
        frame = Frame(
            path=packed.path,
            mode=packed.mode,
            pages=packed.pages,
            size_bytes=packed.size_bytes,
            offset=len(self._body),
            frame_size_bytes=len(packed.body),
            digest=bytes.fromhex(blake3_hex(packed.body)),
            digests=packed.digests,
        )
        self._frames.append(frame)
        self._body += packed.body

    def finish(self) -> tuple[PartEntry, bytes]:
        """Give what the manifest says of the object, and its bytes."""
        offset = len(self._body)
        compressor = zstandard.ZstdCompressor(level=_INDEX_LEVEL, write_content_size=True)
        index = compressor.compress(_index(self._frames))
        self._body += index + _FOOTER.pack(offset, len(index), MAGIC)
        body = bytes(self._body)
        return PartEntry(len(body), offset, blake3_hex(body[offset:])), body


def read_tail(key: str, entry: PartEntry, tail: bytes) -> list[Frame]:
    """Read where the frames of an object are.

    Args:
        key: of the object, for errors.
        entry: what the manifest says of it.
        tail: its bytes from ``entry.tail_offset`` to its end.

    Raises:
        Damaged: ``bad-layer``.
    """
    if blake3_hex(tail) != entry.digest:
        raise bad_layer(key, "its end does not match the manifest")
    if len(tail) < _FOOTER.size:
        raise bad_layer(key, "its end is too short")
    offset, size, magic = _FOOTER.unpack_from(tail, len(tail) - _FOOTER.size)
    if (magic, offset, size) != (MAGIC, entry.tail_offset, len(tail) - _FOOTER.size):
        raise bad_layer(key, "its end is not that of a layer")
    raw = _unpack(key, tail[:size], _INDEX_LIMIT_BYTES)
    try:
        frames = list(_frames(raw))
        for frame in frames:
            _check(key, entry, frame)
    except (ValueError, TypeError, OverflowError, RecursionError, struct.error) as error:
        raise bad_layer(key, f"its index cannot be read: {error}") from error
    return frames


def read_frame(key: str, frame: Frame, body: bytes | memoryview) -> bytes:
    """Unpack a frame's content after checking its digest.

    Raises:
        Damaged: ``bad-layer``.
    """
    if bytes.fromhex(blake3_hex(body)) != frame.digest:
        raise bad_layer(key, f"a frame of {frame.path} does not match its digest")
    content = _unpack(key, body, frame.size_bytes)
    if len(content) != frame.size_bytes:
        raise bad_layer(key, f"a frame of {frame.path} is shorter than it should be")
    return content


def check_pages(key: str, frame: Frame, content: bytes | memoryview) -> None:
    """Check pages, as they have become, against their digests.

    Raises:
        Damaged: ``bad-layer``.
    """
    if page_digests(content) != frame.digests:
        raise bad_layer(key, f"pages of {frame.path} do not match their digests")


def bad_layer(key: str, what: str) -> Damaged:
    """Make the error for an object that is not what it should be."""
    return Damaged(
        f"{key} is damaged: {what}",
        kind="bad-layer",
        hint="read the version before it, or bring the object back from a backup",
    )


def runs(pages: Pages) -> list[tuple[int, int]]:
    """Give ascending numbers as runs of neighbours, each its first number and how many."""
    if not len(pages):
        return []
    (breaks,) = (pages[1:] != pages[:-1] + 1).nonzero()
    starts = [0, *(breaks + 1).tolist()]
    ends = [*starts[1:], len(pages)]
    return [
        (first, end - start)
        for first, start, end in zip(pages[starts].tolist(), starts, ends, strict=True)
    ]


def pages_of(found: Iterable[Sequence[int]]) -> Pages:
    """Give the numbers that are in runs: what ``runs`` was made of."""
    each = [np.arange(first, first + count, dtype=np.int64) for first, count in found]
    return np.concatenate(each) if each else NO_PAGES


def _index(frames: Iterable[Frame]) -> bytes:
    kept = list(frames)
    rows = [
        [f.path, f.mode, runs(f.pages), f.size_bytes, f.offset, f.frame_size_bytes] for f in kept
    ]
    text = json.dumps(rows, separators=(",", ":")).encode()
    digests = b"".join(f.digest for f in kept) + b"".join(f.digests for f in kept)
    return _LENGTH.pack(len(text)) + text + digests


def _frames(raw: bytes) -> Iterator[Frame]:
    (size,) = _LENGTH.unpack_from(raw)
    start = _LENGTH.size
    if start + size > len(raw):
        raise ValueError("it is shorter than it says")
    rows = json.loads(raw[start : start + size])
    frame_digests = memoryview(raw)[start + size :]
    digests = frame_digests[len(rows) * _FRAME_DIGEST_BYTES :]
    for number, (path, mode, page_runs, *numbers) in enumerate(rows):
        size_bytes, offset, frame_size_bytes = map(operator.index, numbers)
        pages = _pages(page_runs)
        at, length = number * _FRAME_DIGEST_BYTES, len(pages) * DIGEST_SIZE_BYTES
        yield Frame(
            path=check_path(path),
            mode=mode,
            pages=pages,
            size_bytes=size_bytes,
            offset=offset,
            frame_size_bytes=frame_size_bytes,
            digest=bytes(frame_digests[at : at + _FRAME_DIGEST_BYTES]),
            digests=bytes(digests[:length]),
        )
        digests = digests[length:]
    if len(digests):
        raise ValueError("it has digests of no page")


def _check(key: str, entry: PartEntry, frame: Frame) -> None:
    count = len(frame.pages)
    fits = 0 < count <= FRAME_PAGES and 0 < frame.size_bytes <= _FRAME_BYTES
    short = count * PAGE_SIZE_BYTES - frame.size_bytes
    whole = 0 <= short < PAGE_SIZE_BYTES and (not short or frame.mode == RAW)
    in_order = bool((frame.pages[1:] > frame.pages[:-1]).all())
    ascending = in_order and fits and int(frame.pages[0]) >= 0
    inside = 0 <= frame.offset <= frame.end <= entry.tail_offset
    complete = len(frame.digests) == count * DIGEST_SIZE_BYTES and (
        len(frame.digest) == _FRAME_DIGEST_BYTES
    )
    known = frame.mode in (RAW, XOR)
    if not (fits and whole and ascending and inside and complete and known):
        raise bad_layer(key, f"a frame of {frame.path} contradicts itself")


def _pages(found: list[list[int]]) -> Pages:
    if any(count < 1 for _, count in found) or sum(count for _, count in found) > FRAME_PAGES:
        raise ValueError("a frame has too many pages")
    return pages_of(found)


def _unpack(key: str, frame: bytes | memoryview, limit_bytes: int) -> bytes:
    # The frame says its size first, so a bomb is refused before it is unpacked.
    try:
        size_bytes = zstandard.frame_content_size(frame)
        if not 0 <= size_bytes <= limit_bytes:
            raise bad_layer(key, "a frame unpacks to more than it should")
        return zstandard.ZstdDecompressor().decompress(frame)
    except zstandard.ZstdError as error:
        raise bad_layer(key, str(error)) from error
