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
from chromaseal.snapshot.layer_objects import LayerReader, OpenLayer, OpenPart, touched_pages
from chromaseal.snapshot.pack import DIFF_LEVEL
from chromaseal.snapshot.page_file import size_of_pages

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
    for path, pages in sorted(touched_pages(layers).items()):
        frames = [
            (part, frame)
            for layer in layers
            for part in layer.parts
            for frame in part.frames
            if frame.path == path
        ]
        touched = pages[pages < pages_in(sizes_bytes.get(path, 0))]
        for start in range(0, len(touched), _WINDOW_PAGES):
            window = _Window(touched[start : start + _WINDOW_PAGES])
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
    """Pages of a file, ascending, and what the diffs so far make of them.

    Changed pages may lie far apart, so windows are cut from those, not from the file: a frame
    is then fetched for one window, or two.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._content = np.zeros((len(pages), PAGE_SIZE_BYTES), dtype=np.uint8)
        self._digests = np.zeros((len(pages), DIGEST_SIZE_BYTES), dtype=np.uint8)
        self._state = np.zeros(len(pages), dtype=np.uint8)

    def touches(self, frame: Frame) -> bool:
        """Whether a frame has pages of this window."""
        return bool(self._inside(frame).any())

    def _inside(self, frame: Frame) -> NDArray[np.bool_]:
        first, last = int(self._pages[0]), int(self._pages[-1])
        inside: NDArray[np.bool_] = (frame.pages >= first) & (frame.pages <= last)
        return inside

    def apply(self, key: str, frame: Frame, content: bytes) -> None:
        """Put a later frame's pages on top."""
        inside = self._inside(frame)
        places = np.searchsorted(self._pages, frame.pages[inside])
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
        pages = self._pages[places]
        content = self._content[places].tobytes()
        content = content[: size_of_pages(pages, file_size_bytes)]
        return pack(path, mode, pages, content, self._digests[places].tobytes(), level=DIFF_LEVEL)


def _rows(content: bytes, pages: int) -> NDArray[np.uint8]:
    """Give pages as rows; the missing end of a short last page is zeros."""
    padded = content.ljust(pages * PAGE_SIZE_BYTES, b"\0")
    return np.frombuffer(padded, dtype=np.uint8).reshape(pages, PAGE_SIZE_BYTES)
