"""A damaged vector segment -> the vectors in it that can be believed.

``header.bin`` and the links are only hints here: they say how to search, not what there is. What
there is are the rows of ``data_level0.bin``, each {links, vector, label}, and the names in
``index_metadata.pickle``. Damage comes by page of 4 KiB: a row that shares a page with a label
that nobody knows, or with nothing but zeros, is not believed.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chromaseal.adapters.chroma.hnsw import PICKLE, read_pickle

_HEADER = struct.Struct("<i6QiI3QdQ")
_PAGE_BYTES = 4096
_WORD_BYTES = 4
_LABEL_BYTES = 8
_LINKS_PER_LEVEL = 2
_NO_LABEL = 2**64
# Labels count every element that ever was; of a damaged page they are zero or huge.
_LABELS_PER_ROW = 8


@dataclass(frozen=True, slots=True)
class TornIndex:
    """What is left of a vector segment.

    Attributes:
        folder: its name, which is the segment's id.
        dimension: numbers per vector; 0 if unknown.
        names: labels by record id, where both directions of the pickle agree.
        contradicted: record ids of which the two directions say different things.
        vectors: shape (n, dimension).
        places: row in ``vectors`` by label, of what is believed.
        strangers: how many elements have a label that could be one, and are neither named nor
            deleted: the names are of another moment.
        has_bad_pages: whether some pages are not what was written there.
        is_cut: whether ``data_level0.bin`` ends in the middle of an element.
        problem: why there are no names; empty if there are.
    """

    folder: str
    dimension: int = 0
    names: Mapping[str, int] = field(default_factory=dict)
    contradicted: frozenset[str] = frozenset()
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    places: Mapping[int, int] = field(default_factory=dict)
    strangers: int = 0
    is_cut: bool = False
    has_bad_pages: bool = False
    problem: str = ""

    def vector(self, record_id: str) -> NDArray[np.float32] | None:
        """Give a record's vector, if it is there and can be believed."""
        place = self.places.get(self.names.get(record_id, -1))
        if place is None:
            return None
        found: NDArray[np.float32] = self.vectors[place]
        return found


def read_torn_index(
    folder: Path, dimensions: Iterable[int], max_neighbours: Iterable[int]
) -> TornIndex:
    """Read what can be read.

    Args:
        folder: the segment's directory.
        dimensions: what others say how many numbers a vector has; the files may know better.
        max_neighbours: the collections' M, for when the header cannot be believed.
    """
    names, contradicted, mentioned, problem = _names(folder)
    shapes = _shapes(folder, dimensions, max_neighbours)
    read = [_read(folder, shape, names, mentioned) for shape in shapes]
    # Of several readings the right one is that in which the names are found.
    best = max(read, key=lambda index: len(index.places), default=TornIndex(folder.name))
    return TornIndex(
        folder.name,
        # Where no name is found no reading is right: an index that was never flushed has none.
        best.dimension if best.places else 0,
        names,
        contradicted,
        best.vectors,
        best.places,
        best.strangers,
        best.is_cut,
        best.has_bad_pages,
        problem,
    )


def _names(folder: Path) -> tuple[dict[str, int], frozenset[str], frozenset[int], str]:
    """Give the names, the contradicted ones, every label that has any, and what is wrong."""
    path = folder / PICKLE
    if not path.is_file():
        return {}, frozenset(), frozenset(), f"{PICKLE} is missing"
    content = read_pickle(path)
    forth, back = content.get("id_to_label"), content.get("label_to_id")
    if not isinstance(forth, dict) or not isinstance(back, dict):
        return {}, frozenset(), frozenset(), f"{PICKLE} cannot be read"
    names = {
        record_id: label
        for record_id, label in forth.items()
        if isinstance(record_id, str) and isinstance(label, int) and back.get(label) == record_id
    }
    ids = {each for each in (*forth.keys(), *back.values()) if isinstance(each, str)}
    labels = {each for each in (*forth.values(), *back.keys()) if isinstance(each, int)}
    return names, frozenset(ids - names.keys()), frozenset(labels), ""


def _shapes(
    folder: Path, dimensions: Iterable[int], max_neighbours: Iterable[int]
) -> list[tuple[int, int]]:
    """Give the possible (dimension, bytes of links) of a row."""
    links = [_LINKS_PER_LEVEL * most * _WORD_BYTES + _WORD_BYTES for most in max_neighbours]
    shapes = [*product(dimensions, links)]
    header = folder / "header.bin"
    raw = header.read_bytes() if header.is_file() else b""
    if len(raw) >= _HEADER.size:
        _, _, _, _, element, label, vector, *_ = _HEADER.unpack_from(raw)
        numbers, rest = divmod(label - vector, _WORD_BYTES)
        if element == label + _LABEL_BYTES and numbers > 0 and not rest and vector > 0:
            shapes.append((numbers, vector))
    return list(dict.fromkeys(shapes))


def _read(
    folder: Path, shape: tuple[int, int], names: Mapping[str, int], mentioned: frozenset[int]
) -> TornIndex:
    dimension, links_bytes = shape
    row_bytes = links_bytes + dimension * _WORD_BYTES + _LABEL_BYTES
    path = folder / "data_level0.bin"
    raw = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    count = len(raw) // row_bytes
    rows = raw[: count * row_bytes].reshape(count, row_bytes)
    labels = np.ascontiguousarray(rows[:, -_LABEL_BYTES:]).view("<u8")[:, 0]
    vectors = np.ascontiguousarray(rows[:, links_bytes:-_LABEL_BYTES]).view("<f4")
    deleted = (rows[:, 2] & 1).astype(np.bool_)
    behind = np.arange(count) >= _elements(folder, labels, names)
    named = _among(labels, names.values()) & ~behind
    strange = _used(rows) & ~_among(labels, mentioned) & ~deleted
    if not _lead_behind(rows[~behind, :links_bytes], count):
        strange &= ~behind
    doubted = (strange & ~behind) | _repeated(labels, named & ~deleted)
    unproven = _beside_bad_pages(raw, row_bytes, count, doubted)
    believed = named & ~unproven
    believed &= np.isfinite(vectors).all(axis=1)
    # A label that stands twice: the one that is not deleted.
    places = {
        int(labels[place]): int(place)
        for part in (believed & deleted, believed & ~deleted)
        for place in np.flatnonzero(part)
    }
    return TornIndex(
        folder.name,
        dimension,
        vectors=vectors,
        places=places,
        strangers=int((strange & (labels > 0) & (labels <= _LABELS_PER_ROW * count)).sum()),
        has_bad_pages=bool(unproven[~behind].any()),
        is_cut=bool(len(raw) % row_bytes),
    )


def _elements(folder: Path, labels: NDArray[np.uint64], names: Mapping[str, int]) -> int:
    """Say how many rows are elements, or may be.

    Behind them is room for more, with whatever was in memory: zeros, or rows of another index. The
    header is believed where every name is found among as many rows as it counts.
    """
    header = folder / "header.bin"
    raw = header.read_bytes() if header.is_file() else b""
    if len(raw) < _HEADER.size:
        return len(labels)
    _, _, _, counted, *_ = _HEADER.unpack_from(raw)
    found = counted <= len(labels) and set(names.values()) <= set(labels[:counted].tolist())
    return counted if found else len(labels)


def _lead_behind(links: NDArray[np.uint8], count: int) -> bool:
    """Whether elements have links to rows behind the last: then those are newer elements.

    Args:
        links: of the elements: u16 number of links, two bytes, u32 links.
        count: of all rows.
    """
    words = links.shape[1] // _WORD_BYTES
    if not len(links) or not words:
        return False
    numbers = np.ascontiguousarray(links[:, : words * _WORD_BYTES]).view("<u4")
    used = np.arange(numbers.shape[1] - 1) < (numbers[:, :1] & 0xFFFF)
    found = numbers[:, 1:][used]
    return bool(((found >= len(links)) & (found < count)).any())


def _among(labels: NDArray[np.uint64], wanted: Collection[int]) -> NDArray[np.bool_]:
    possible = [label for label in wanted if 0 <= label < _NO_LABEL]
    return np.isin(labels, np.array(possible, dtype=np.uint64))


def _used(rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say which rows are elements: behind the last there is room for more, of zeros."""
    filled = np.flatnonzero(rows.any(axis=1))
    return np.arange(len(rows)) <= (filled[-1] if len(filled) else -1)


def _repeated(labels: NDArray[np.uint64], alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    values, counts = np.unique(labels[alive], return_counts=True)
    return alive & np.isin(labels, values[counts > 1])


def _beside_bad_pages(
    raw: NDArray[np.uint8], row_bytes: int, count: int, doubted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Say which rows share a page with a doubted label or with zeros only."""
    pages = -(-len(raw) // _PAGE_BYTES)
    padded = np.zeros(pages * _PAGE_BYTES, np.uint8)
    padded[: len(raw)] = raw
    bad: NDArray[np.bool_] = np.logical_not(padded.reshape(pages, _PAGE_BYTES).any(axis=1))
    ends = (np.arange(count) + 1) * row_bytes - 1
    bad[ends[doubted] // _PAGE_BYTES] = True
    before = np.concatenate([[0], np.cumsum(bad)])
    first = np.arange(count) * row_bytes // _PAGE_BYTES
    last = ends // _PAGE_BYTES
    return np.asarray(before[last + 1] > before[first])
