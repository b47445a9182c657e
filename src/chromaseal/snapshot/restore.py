"""Layers -> files: every page put where it belongs, and checked once it is what it stays.

Frames are fetched and unpacked by several threads, which needs no interpreter's lock, and applied
by one, in the order of the layers: hashing pages on several threads is slower than on one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from chromaseal.digests import DIGEST_SIZE_BYTES, PAGE_SIZE_BYTES, digests_at, pages_in
from chromaseal.errors import Damaged
from chromaseal.sandbox import Progress
from chromaseal.seal.evidence import FileEntry
from chromaseal.seal.page_table import PageTable, Tables
from chromaseal.snapshot.layer import XOR, Frame, Pages, bad_layer
from chromaseal.snapshot.layer_objects import LayerReader, OpenLayer
from chromaseal.snapshot.page_file import read_pages, size_of_pages, write_pages


@dataclass(frozen=True, slots=True, eq=False)
class Apart:
    """Pages of a file that are brought to a version in another file.

    Attributes:
        path: the other file, which has them as they were, 4,096 bytes each.
        first: from which page on.
        pages: their numbers, ascending; every page that layers may change is among them.
    """

    path: Path
    first: int
    pages: Pages


_NOWHERE: Mapping[str, Apart] = {}


def restore(
    reader: LayerReader,
    entries: Sequence[FileEntry],
    layers: Sequence[OpenLayer],
    directory: Path,
    *,
    before: Tables,
    progress: Progress,
    apart: Mapping[str, Apart] = _NOWHERE,
) -> dict[str, PageTable]:
    """Bring files to a version.

    Args:
        reader: where layers come from.
        entries: the files, as the version's manifest has them; all others are left alone.
        layers: what leads to it, oldest first, from nothing or from what is in the directory.
        directory: holds the files that ``before`` tells of.
        before: the pages of the files that are there.
        progress: called with fetched and all bytes.
        apart: by path, files that are left as they are, with their changing pages elsewhere.

    Returns:
        The pages of those files.

    Raises:
        Damaged: ``bad-layer``, ``bad-file`` or ``missing-object``.
    """
    sizes = {entry.path: entry.size_bytes for entry in entries}
    _refuse_too_large(layers, sizes, before)
    with ExitStack() as held:
        files = {
            path: held.enter_context(
                _File(directory / path, size_bytes, before.get(path), apart.get(path))
            )
            for path, size_bytes in sizes.items()
        }
        _find_last(layers, files)
        done, total = 0, sum(p.entry.tail_offset for layer in layers for p in layer.parts)
        for fetched in reader.fetch(layers):
            for frame, content in fetched.frames:
                if frame.path in files:
                    files[frame.path].apply(fetched.layer, fetched.part.key, frame, content)
            done += fetched.size_bytes
            progress(done, total)
    tables = {path: file.table for path, file in files.items()}
    for entry in entries:
        if tables[entry.path].entry(entry.path) != entry:
            raise _other_content(entry.path)
    return tables


def _refuse_too_large(
    layers: Sequence[OpenLayer], sizes_bytes: Mapping[str, int], before: Tables
) -> None:
    """Refuse sizes that the layers do not bear out, before any disk or memory is taken."""
    pages = {path: pages_in(table.size_bytes) for path, table in before.items()}
    for layer in layers:
        for part in layer.parts:
            for frame in part.frames:
                pages[frame.path] = pages.get(frame.path, 0) + len(frame.pages)
    for path, size_bytes in sizes_bytes.items():
        if pages_in(size_bytes) > pages.get(path, 0):
            raise _other_content(path)


def _other_content(path: str) -> Damaged:
    return Damaged(f"the layers do not make {path} what its manifest says", kind="bad-file")


def _find_last(layers: Sequence[OpenLayer], files: Mapping[str, _File]) -> None:
    for number, layer in enumerate(layers):
        for part in layer.parts:
            for frame in part.frames:
                if frame.path in files:
                    files[frame.path].expect(number, frame)


class _File:
    """A file that is being brought to its new content; use as a context manager."""

    def __init__(
        self, path: Path, size_bytes: int, before: PageTable | None, apart: Apart | None
    ) -> None:
        count = pages_in(size_bytes)
        self._size_bytes = size_bytes
        # By which layer a page becomes what it stays; -1 for what was there before.
        self._last = np.full(count, -1, dtype=np.int32)
        known = before.digests[: count * DIGEST_SIZE_BYTES] if before else b""
        self._digests = bytearray(known.ljust(count * DIGEST_SIZE_BYTES, b"\0"))
        self._apart = apart
        if apart is not None:
            self._descriptor = os.open(apart.path, os.O_RDWR)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._descriptor, size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    @property
    def table(self) -> PageTable:
        """Give the pages, as the layers say that they have become."""
        return PageTable(self._size_bytes, bytes(self._digests))

    def expect(self, layer: int, frame: Frame) -> None:
        """Take note that a layer has pages of this file."""
        inside = frame.pages < len(self._last)
        self._last[frame.pages[inside]] = layer
        rows = np.frombuffer(self._digests, dtype=np.uint8).reshape(-1, DIGEST_SIZE_BYTES)
        told = np.frombuffer(frame.digests, dtype=np.uint8).reshape(-1, DIGEST_SIZE_BYTES)
        rows[frame.pages[inside]] = told[inside]

    def apply(self, layer: int, key: str, frame: Frame, content: bytes) -> None:
        """Put a frame's pages in place; check those that stay as they are now."""
        pages = frame.pages
        if int(pages[-1]) >= len(self._last):
            inside = pages < len(self._last)
            pages, content = pages[inside], content[: int(inside.sum()) * PAGE_SIZE_BYTES]
        if not len(pages):
            return
        # What a later layer cuts off is not written, so that the file keeps its size.
        content = content[: size_of_pages(pages, self._size_bytes)]
        if frame.mode == XOR:
            content = self._changed(pages, content)
        self._check(layer, key, frame, pages, content)
        write_pages(self._descriptor, self._places(pages), content)

    def _places(self, pages: Pages) -> Pages:
        """Give where in the open file pages stand."""
        if self._apart is None:
            return pages
        return np.searchsorted(self._apart.pages, pages) + self._apart.first

    def _changed(self, pages: NDArray[np.int64], difference: bytes) -> bytes:
        old = np.frombuffer(read_pages(self._descriptor, self._places(pages)), dtype=np.uint8)
        return (old ^ np.frombuffer(difference, dtype=np.uint8)).tobytes()

    def _check(
        self, layer: int, key: str, frame: Frame, pages: NDArray[np.int64], content: bytes
    ) -> None:
        final = self._last[pages] == layer
        told = np.frombuffer(frame.digests, dtype=f"V{DIGEST_SIZE_BYTES}")[: len(pages)]
        starts = np.flatnonzero(final) * PAGE_SIZE_BYTES
        sound = digests_at(content, starts.tolist()) == told[final].tobytes()
        # A page that is to stay and is too short would be filled up with zeros.
        short = bool(final[-1]) and len(content) != size_of_pages(pages, self._size_bytes)
        if short or not sound:
            raise bad_layer(key, f"pages of {frame.path} do not match their digests")
