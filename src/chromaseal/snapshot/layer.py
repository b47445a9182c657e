"""A layer's bytes: compressed chunks of pages, and an index that says where each is.

The format is described in ``docs/formats/layer.md``::

    magic "CSLAYER1"
    chunk, chunk, ...       zstd frames, each up to 1,024 pages of one file
    index                   a zstd frame: u32 length, JSON of that length, page digests
    u64 index offset, u64 index size, 32 bytes BLAKE3 of the index frame, magic "CSLAYER1"
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import zstandard

from chromaseal.digests import DIGEST_SIZE_BYTES, PAGE_SIZE_BYTES, blake3_hex, page_digests
from chromaseal.errors import Damaged
from chromaseal.snapshot.manifest import LayerEntry, check_path

MAGIC = b"CSLAYER1"
CHUNK_PAGES = 1024
_LEVEL = 3
_INDEX_LIMIT_BYTES = 1 << 30
_LENGTH = struct.Struct("<I")
_FOOTER = struct.Struct("<QQ32s8s")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Pages of one file that stand next to each other.

    Attributes:
        path: the file.
        first_page: number of the first page, from 0.
        size_bytes: of the pages together; only a file's last page may be short.
        offset: where the frame starts in the layer.
        frame_size_bytes: of the compressed frame.
        digests: 32 bytes per page.
    """

    path: str
    first_page: int
    size_bytes: int
    offset: int
    frame_size_bytes: int
    digests: bytes

    @property
    def file_offset(self) -> int:
        """Give where the pages start in their file."""
        return self.first_page * PAGE_SIZE_BYTES


class LayerWriter:
    """Collects pages and gives the layer's bytes."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)
        self._body = bytearray(MAGIC)
        self._chunks: list[Chunk] = []

    @property
    def size_bytes(self) -> int:
        """Give how large the layer has become."""
        return len(self._body)

    def add(self, path: str, first_page: int, pages: bytes) -> bytes:
        """Add up to ``CHUNK_PAGES`` pages of a file; give their digests."""
        digests = page_digests(pages)
        frame = self._compressor.compress(pages)
        self._chunks.append(
            Chunk(path, first_page, len(pages), len(self._body), len(frame), digests)
        )
        self._body += frame
        return digests

    def finish(self, layer_id: str, kind: str) -> tuple[LayerEntry, bytes]:
        """Close the layer.

        Args:
            layer_id: the name it will go by.
            kind: ``base``.

        Returns:
            What the manifest says of it, and its bytes.
        """
        index = self._compressor.compress(_index(self._chunks))
        offset = len(self._body)
        digest = blake3_hex(index)
        self._body += index
        self._body += _FOOTER.pack(offset, len(index), bytes.fromhex(digest), MAGIC)
        body = bytes(self._body)
        entry = LayerEntry(
            layer_id=layer_id,
            kind=kind,
            size_bytes=len(body),
            digest=blake3_hex(body),
            index_offset=offset,
            index_size_bytes=len(index),
            index_digest=digest,
        )
        return entry, body


def read_index(entry: LayerEntry, frame: bytes) -> list[Chunk]:
    """Read a layer's index.

    Args:
        entry: what the manifest says of the layer.
        frame: the bytes from ``index_offset`` of ``index_size_bytes``.

    Raises:
        Damaged: ``bad-layer``.
    """
    if blake3_hex(frame) != entry.index_digest:
        raise _damaged(entry, "its index does not match the manifest")
    raw = _unpack(entry, frame, _INDEX_LIMIT_BYTES)
    try:
        return _chunks(raw)
    except (ValueError, TypeError, struct.error) as error:
        raise _damaged(entry, f"its index cannot be read: {error}") from error


def _chunks(raw: bytes) -> list[Chunk]:
    (size,) = _LENGTH.unpack_from(raw)
    start = _LENGTH.size
    digests = memoryview(raw)[start + size :]
    chunks: list[Chunk] = []
    for path, first_page, size_bytes, offset, frame_size in json.loads(raw[start : start + size]):
        length = pages_in(size_bytes) * DIGEST_SIZE_BYTES
        chunk = Chunk(
            check_path(path), first_page, size_bytes, offset, frame_size, bytes(digests[:length])
        )
        chunks.append(chunk)
        digests = digests[length:]
    return chunks


def read_chunk(entry: LayerEntry, chunk: Chunk, frame: bytes | memoryview) -> bytes:
    """Unpack a chunk's pages and check each against its digest.

    Raises:
        Damaged: ``bad-layer``.
    """
    pages = _unpack(entry, frame, chunk.size_bytes)
    if len(pages) != chunk.size_bytes or page_digests(pages) != chunk.digests:
        raise _damaged(entry, f"pages of {chunk.path} do not match their digests")
    return pages


def pages_in(size_bytes: int) -> int:
    """Give how many pages that many bytes take."""
    return -(-size_bytes // PAGE_SIZE_BYTES)


def _index(chunks: Iterable[Chunk]) -> bytes:
    rows = [[c.path, c.first_page, c.size_bytes, c.offset, c.frame_size_bytes] for c in chunks]
    text = json.dumps(rows, separators=(",", ":")).encode()
    return _LENGTH.pack(len(text)) + text + b"".join(c.digests for c in chunks)


def _unpack(entry: LayerEntry, frame: bytes | memoryview, limit_bytes: int) -> bytes:
    # The frame says its size first, so a bomb is refused before it is unpacked.
    try:
        if zstandard.frame_content_size(frame) > limit_bytes:
            raise _damaged(entry, "a frame unpacks to more than it should")
        return zstandard.ZstdDecompressor().decompress(frame)
    except zstandard.ZstdError as error:
        raise _damaged(entry, str(error)) from error


def _damaged(entry: LayerEntry, what: str) -> Damaged:
    return Damaged(
        f"layer {entry.layer_id} is damaged: {what}",
        kind="bad-layer",
        hint="read the version before it, or bring the object back from a backup",
    )
