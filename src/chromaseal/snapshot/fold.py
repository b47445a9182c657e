"""Several diffs -> the one diff that leads as far, without the pages that they lead from.

A page that a diff holds as it is replaces whatever came before; XOR on top of it, or on top of
XOR, combines. So diffs compose among themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from chromaseal.digests import DIGEST_SIZE_BYTES, PAGE_SIZE_BYTES, pages_in
from chromaseal.snapshot.layer import (
    FRAME_PAGES,
    RAW,
    XOR,
    Frame,
    PackedPages,
    Pages,
    check_pages,
    pack,
)
from chromaseal.snapshot.layer_objects import LayerReader, OpenLayer, OpenPart
from chromaseal.snapshot.pack import DIFF_LEVEL

_WINDOW_PAGES = 4096
_RAW, _XOR = 1, 2


def fold(
    reader: LayerReader, layers: Sequence[OpenLayer], sizes_bytes: Mapping[str, int]
) -> Iterator[PackedPages]:
    """Compose diffs that follow each other.

    Args:
        reader: where their frames come from.
        layers: the diffs, oldest first.
        sizes_bytes: of the files, by path, as they are after the last diff.

    Yields:
        The frames of the one diff.

    Raises:
        Damaged: ``bad-layer`` or ``missing-object``.
    """
    for path in sorted({f.path for layer in layers for p in layer.parts for f in p.frames}):
        count = pages_in(sizes_bytes.get(path, 0))
        frames = [
            (part, frame)
            for layer in layers
            for part in layer.parts
            for frame in part.frames
            if frame.path == path
        ]
        for first in range(0, count, _WINDOW_PAGES):
            window = _Window(first, min(first + _WINDOW_PAGES, count))
            touching = [each for each in frames if window.touches(each[1])]
            for frame, key, content in _contents(reader, touching):
                window.apply(key, frame, content)
            yield from window.frames(path, sizes_bytes[path])


def _contents(
    reader: LayerReader, frames: Sequence[tuple[OpenPart, Frame]]
) -> Iterator[tuple[Frame, str, bytes]]:
    by_part: dict[str, tuple[OpenPart, list[Frame]]] = {}
    for part, frame in frames:
        by_part.setdefault(part.key, (part, []))[1].append(frame)
    for part, wanted in by_part.values():
        for frame, content in reader.fetch_frames(part, wanted):
            yield frame, part.key, content


class _Window:
    """A range of a file's pages, and what the diffs so far make of them."""

    def __init__(self, first: int, end: int) -> None:
        count = end - first
        self._first = first
        self._end = end
        self._content = np.zeros((count, PAGE_SIZE_BYTES), dtype=np.uint8)
        self._digests = np.zeros((count, DIGEST_SIZE_BYTES), dtype=np.uint8)
        self._state = np.zeros(count, dtype=np.uint8)

    def touches(self, frame: Frame) -> bool:
        """Whether a frame may have pages of this window."""
        return int(frame.pages[0]) < self._end and int(frame.pages[-1]) >= self._first

    def apply(self, key: str, frame: Frame, content: bytes) -> None:
        """Put a later frame's pages on top."""
        inside = (frame.pages >= self._first) & (frame.pages < self._end)
        places = frame.pages[inside] - self._first
        rows = _rows(content, len(frame.pages))[inside]
        digests = np.frombuffer(frame.digests, dtype=np.uint8).reshape(-1, DIGEST_SIZE_BYTES)
        if frame.mode == RAW:
            check_pages(key, frame, content)
            self._content[places] = rows
            self._state[places] = _RAW
        else:
            self._content[places] ^= rows
            self._state[places] = np.where(self._state[places] == _RAW, _RAW, _XOR)
        self._digests[places] = digests[inside]

    def frames(self, path: str, file_size_bytes: int) -> Iterator[PackedPages]:
        """Give what the diffs together make of the window."""
        for state, mode in ((_XOR, XOR), (_RAW, RAW)):
            places = np.flatnonzero(self._state == state)
            for start in range(0, len(places), FRAME_PAGES):
                yield self._pack(path, mode, places[start : start + FRAME_PAGES], file_size_bytes)

    def _pack(
        self, path: str, mode: str, places: NDArray[np.intp], file_size_bytes: int
    ) -> PackedPages:
        pages: Pages = places.astype(np.int64) + self._first
        content = self._content[places].tobytes()
        beyond = max((int(pages[-1]) + 1) * PAGE_SIZE_BYTES - file_size_bytes, 0)
        digests = self._digests[places].tobytes()
        return pack(path, mode, pages, content[: len(content) - beyond], digests, level=DIFF_LEVEL)


def _rows(content: bytes, pages: int) -> NDArray[np.uint8]:
    """Give pages as rows; the missing end of a short last page is zeros."""
    padded = content.ljust(pages * PAGE_SIZE_BYTES, b"\0")
    return np.frombuffer(padded, dtype=np.uint8).reshape(pages, PAGE_SIZE_BYTES)
