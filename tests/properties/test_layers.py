"""A layer's bytes read back as they were written; whatever else they could be is refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from chromaseal.digests import PAGE_SIZE_BYTES, blake3_hex, page_digests
from chromaseal.errors import Damaged
from chromaseal.snapshot.layer import (
    FRAME_PAGES,
    RAW,
    XOR,
    Frame,
    PackedPages,
    PartWriter,
    check_pages,
    pack,
    read_frame,
    read_tail,
)
from chromaseal.snapshot.manifest import PartEntry

PAGE = PAGE_SIZE_BYTES
FOOTER = struct.Struct("<QQ8s")
COMPRESSOR = zstandard.ZstdCompressor(write_content_size=True)
paths = st.sampled_from(["chroma.sqlite3", "a/data_level0.bin", "ü/x"])


@st.composite
def frames(draw: st.DrawFn) -> tuple[PackedPages, bytes]:
    """Give packed pages and what they hold: pages of any numbers, of noise or of almost nothing."""
    numbers = sorted(draw(st.sets(st.integers(0, 10**9), min_size=1, max_size=20)))
    mode = draw(st.sampled_from([RAW, XOR]))
    size = len(numbers) * PAGE - (draw(st.integers(0, PAGE - 1)) if mode == RAW else 0)
    noise = np.random.default_rng(draw(st.integers(0, 99))).bytes(size)
    content = noise if draw(st.booleans()) else noise[:9].ljust(size, b"\0")
    pages = np.array(numbers, dtype=np.int64)
    return pack(draw(paths), mode, pages, content, page_digests(content)), content


def written(packed: Sequence[PackedPages]) -> tuple[PartEntry, bytes]:
    """Write an object."""
    writer = PartWriter()
    for each in packed:
        writer.add(each)
    return writer.finish()


@settings(max_examples=40)
@given(st.lists(frames(), min_size=1, max_size=4))
def test_layers_round_trip(cases: list[tuple[PackedPages, bytes]]) -> None:
    """Paths, modes, page numbers and contents come back from the tail and the frames alone."""
    entry, body = written([packed for packed, _ in cases])
    assert entry.size_bytes == len(body)
    found = read_tail("key", entry, body[entry.tail_offset :])
    assert len(found) == len(cases)
    for frame, (packed, content) in zip(found, cases, strict=True):
        assert (frame.path, frame.mode) == (packed.path, packed.mode)
        assert frame.pages.tolist() == packed.pages.tolist()
        assert read_frame("key", frame, body[frame.offset : frame.end]) == content
        check_pages("key", frame, content)
    assert [f.offset for f in found] == [0, *(f.end for f in found[:-1])]
    assert all(a.end == b.offset for a, b in pairwise(found))
    assert found[-1].end == entry.tail_offset


@settings(max_examples=40)
@given(st.lists(frames(), min_size=1, max_size=2), st.data())
def test_a_damaged_layer_is_refused(
    cases: list[tuple[PackedPages, bytes]], data: st.DataObject
) -> None:
    """One flipped bit anywhere in the object, or a missing end, and nothing is unpacked from it."""
    entry, body = written([packed for packed, _ in cases])
    sound = read_tail("key", entry, body[entry.tail_offset :])
    position = data.draw(st.integers(0, len(body) - 1))
    flipped = bytearray(body)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(flipped), body[:position]):
        with pytest.raises(Damaged, match="key is damaged"):
            read_whole(entry, sound, damaged)


def read_whole(entry: PartEntry, sound: Sequence[Frame], body: bytes) -> None:
    """Read an object's tail and all frames that it should have."""
    read_tail("key", entry, body[entry.tail_offset :])
    for frame in sound:
        read_frame("key", frame, body[frame.offset : frame.end])


def test_a_changed_page_is_refused() -> None:
    """Pages are checked as they have become, whatever the frame said."""
    pages = np.arange(2, dtype=np.int64)
    content = bytes(2 * PAGE)
    entry, body = written([pack("f", RAW, pages, content, page_digests(content))])
    (frame,) = read_tail("key", entry, body[entry.tail_offset :])
    with pytest.raises(Damaged, match="pages of f do not match"):
        check_pages("key", frame, content[:-1] + b"x")


# --- objects that a hostile writer could have stored, with every digest right ------------------


def forged(index: bytes, *, tail_offset: int = 100, footer: bytes = b"") -> tuple[PartEntry, bytes]:
    """Give a tail around an index, and an entry that has its digest."""
    footer = footer or FOOTER.pack(tail_offset, len(index), b"CSLAYER2")
    tail = index + footer
    return PartEntry(tail_offset + len(tail), tail_offset, blake3_hex(tail)), tail


def index_of(rows: Any, digests: int) -> bytes:  # noqa: ANN401 - whatever JSON can hold
    """Write an index with that many digests: a frame's, 32 bytes, and pages', 16 bytes each."""
    text = json.dumps(rows).encode()
    zeros = bytes(32 + 16 * (digests - 1)) if digests else b""
    return COMPRESSOR.compress(struct.pack("<I", len(text)) + text + zeros)


GOOD = ["f", RAW, [[0, 2]], 2 * PAGE, 0, 100]


def row(**changes: Any) -> list[Any]:  # noqa: ANN401
    """Give a sound row but for some values."""
    fields = ["path", "mode", "runs", "size", "offset", "frame_size"]
    return [changes.get(name, value) for name, value in zip(fields, GOOD, strict=True)]


def test_a_sound_index_is_read() -> None:
    """The rows below are refused for what is wrong with them, and for nothing else."""
    (frame,) = read_tail("key", *forged(index_of([GOOD], 3)))
    assert (frame.path, frame.pages.tolist(), frame.end) == ("f", [0, 1], 100)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "", ".", "a//b", "a\\b", "a\0b"])
def test_paths_that_climb_are_refused(path: str) -> None:
    """No frame is for a file outside of the directory."""
    with pytest.raises(Damaged) as caught:
        read_tail("key", *forged(index_of([row(path=path)], 3)))
    assert caught.value.kind == "bad-path"


@pytest.mark.parametrize(
    "wrong",
    [
        row(path=5),
        row(path=None),
        row(mode="zip"),
        row(mode=XOR, size=2 * PAGE - 1),
        row(runs=[]),
        row(runs=[[0, 0]], size=0),
        row(runs=[[5, 1], [3, 1]]),
        row(runs=[[0, 1], [0, 1]]),
        row(runs=[[-1, 2]]),
        row(runs=[[0, -(10**12)], [0, 10**12 + 2]]),
        row(runs=[[0, 10**12]]),
        row(runs=[[2**70, 2]]),
        row(runs=[["0", 2]]),
        row(runs=[[0, 2, 3]]),
        row(runs=7),
        row(size=0),
        row(size=-1),
        row(size=PAGE),
        row(size=2 * PAGE + 1),
        row(size=10**12),
        row(size="8192"),
        row(size=None),
        row(size=8192.0),
        row(offset=-1),
        row(offset=1),
        row(offset=2**70),
        row(frame_size=-1),
        row(frame_size=101),
        row(frame_size="100"),
        [*GOOD, 1],
        GOOD[:-1],
        "abcdef",
        {},
    ],
    ids=str,
)
def test_rows_that_lie_are_refused(wrong: object) -> None:
    """Pages that descend or overlap, sizes and places that cannot be, and whatever is no row."""
    with pytest.raises(Damaged) as caught:
        read_tail("key", *forged(index_of([wrong], 3)))
    assert caught.value.kind == "bad-layer"


@pytest.mark.parametrize(
    "index",
    [
        index_of(
            [row(runs=[[0, FRAME_PAGES + 1]], size=(FRAME_PAGES + 1) * PAGE)], FRAME_PAGES + 2
        ),
        index_of([GOOD], 2),
        index_of([GOOD], 0),
        index_of([GOOD], 4),
        index_of([GOOD, GOOD], 5),
        index_of({"a": 1}, 0),
        index_of(7, 0),
        COMPRESSOR.compress(struct.pack("<I", 1 << 31) + b"[]"),
        COMPRESSOR.compress(b"\0\0"),
        COMPRESSOR.compress(struct.pack("<I", 40_000) + b"[" * 40_000),
        b"no frame at all",
        b"",
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100)),
    ],
    ids=range(13),
)
def test_indexes_that_lie_are_refused(index: bytes) -> None:
    """Too few digests, lengths beyond the end, JSON of another shape or depth, no zstd."""
    with pytest.raises(Damaged) as caught:
        read_tail("key", *forged(index))
    assert caught.value.kind == "bad-layer"


@pytest.mark.parametrize(
    "footer",
    [
        FOOTER.pack(100, 1000, b"CSLAYER2"),
        FOOTER.pack(99, 0, b"CSLAYER2"),
        FOOTER.pack(100, 0, b"CSLAYER1"),
        b"short",
    ],
)
def test_footers_that_lie_are_refused(footer: bytes) -> None:
    """The footer says where the index is, as the manifest does, and that this is a layer."""
    with pytest.raises(Damaged, match="its end is"):
        read_tail("key", *forged(b"", footer=footer))


def bomb(says_bytes: int) -> bytes:
    """Begin a frame that says to hold that many bytes."""
    begun = zstandard.ZstdCompressor().compressobj(size=says_bytes)
    return begun.compress(b"x") + begun.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """What says to become larger than it may is not unpacked, in an index as in a frame."""
    with pytest.raises(Damaged, match="unpacks to more"):
        read_tail("key", *forged(bomb(1 << 40)))
    with pytest.raises(Damaged, match="unpacks to more"):
        read_frame("key", frame_of(bomb(2 * PAGE + 1)), bomb(2 * PAGE + 1))


def test_a_frame_that_lies_about_its_size_is_refused() -> None:
    """More than the header says is not unpacked, less than the index says is not accepted."""
    honest = COMPRESSOR.compress(bytes(60_000))
    sizes = [honest.find(struct.pack("<H", 60_000 - 256))]
    more = honest.replace(struct.pack("<H", 60_000 - 256), struct.pack("<H", 2 * PAGE - 256), 1)
    assert sizes != [-1]
    for body in (more, COMPRESSOR.compress(bytes(PAGE)), COMPRESSOR.compress(b""), b""):
        with pytest.raises(Damaged) as caught:
            read_frame("key", frame_of(body), body)
        assert caught.value.kind == "bad-layer"


def frame_of(body: bytes) -> Frame:
    """Give a frame of two pages whose digest is right."""
    digest = bytes.fromhex(blake3_hex(body))
    pages = np.arange(2, dtype=np.int64)
    return Frame("f", RAW, pages, 2 * PAGE, 0, len(body), digest, bytes(64))
