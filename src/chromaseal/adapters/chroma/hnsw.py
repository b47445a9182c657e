"""ChromaDB's HNSW files -> plain data, with every size checked before it is used.

The layout is hnswlib's ``saveIndex`` in five files; ``docs/formats/chromadb.md`` says which
field stands where.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from chromaseal.adapters.chroma.hnsw_links import (
    reachable,
    read_ground_links,
    read_link_lists,
)
from chromaseal.seal.anatomy import HnswIndex

_Number = TypeVar("_Number", bound=np.generic)

FILES = ("header.bin", "data_level0.bin", "length.bin", "link_lists.bin")
PICKLE = "index_metadata.pickle"
_HEADER = struct.Struct("<i6QiI3QdQ")
_COUNT = struct.Struct("<I")
_OLD_NAMES = ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData")
_DELETED = 0x01
_ID_BYTES = 4
_LABEL_BYTES = 8


class _Header(NamedTuple):
    version: int
    offset_level0: int
    max_elements: int
    elements: int
    element_size: int
    label_offset: int
    data_offset: int
    max_level: int
    entry_point: int
    max_m: int
    max_m0: int
    m: int
    multiplier: float
    ef_construction: int


def read_index(folder: Path, dimension: int, *, deep: bool = True) -> HnswIndex | None:
    """Read a vector segment's files.

    Args:
        folder: the segment's directory.
        dimension: numbers per vector, as SQLite has it.
        deep: whether to find out which elements can be reached.

    Returns:
        What is in them; None where there is no such directory or it is empty.
    """
    sizes = _sizes(folder)
    if not sizes:
        return None
    missing = [name for name in FILES if name not in sizes]
    if missing:
        return _unreadable(sizes, f"{', '.join(missing)} missing")
    raw = (folder / "header.bin").read_bytes()
    if len(raw) < _HEADER.size:
        return _unreadable(sizes, "header.bin is too short")
    header = _Header(*_HEADER.unpack_from(raw))
    problem = _contradiction(header, sizes, dimension)
    if problem:
        return _unreadable(sizes, problem, header)
    return _readable(folder, header, sizes, dimension, deep=deep)


def stored_vectors(
    folder: Path, dimension: int, ids: Collection[str]
) -> dict[str, NDArray[np.float32]]:
    """Give the vectors that a sound segment has of some records, by id; of others it has none.

    Args:
        folder: the segment's directory.
        dimension: numbers per vector.
        ids: of the records.
    """
    labels = (read_pickle(folder / PICKLE).get("id_to_label") or {}) if folder.is_dir() else {}
    wanted = {record_id: labels[record_id] for record_id in ids if record_id in labels}
    if not wanted:
        return {}
    header = _Header(*_HEADER.unpack_from((folder / "header.bin").read_bytes()))
    rows = _rows(folder, header)
    known = _column(rows, header.label_offset, np.uint64, 1)[:, 0]
    order = np.argsort(known, kind="stable")
    at = order[np.searchsorted(known, np.fromiter(wanted.values(), np.uint64), sorter=order)]
    found = _column(rows[at], header.data_offset, np.float32, dimension)
    return dict(zip(wanted, found, strict=True))


class SegmentLinks:
    """The level-0 links of a sound segment, followed from one record to others.

    Args:
        folder: the segment's directory.
    """

    def __init__(self, folder: Path) -> None:
        names = read_pickle(folder / PICKLE).get("id_to_label") or {}
        header = _Header(*_HEADER.unpack_from((folder / "header.bin").read_bytes()))
        rows = _rows(folder, header)
        known = _column(rows, header.label_offset, np.uint64, 1)[:, 0]
        places = {label: place for place, label in enumerate(known.tolist())}
        self._places = {record_id: places[label] for record_id, label in names.items()}
        self._counts = _column(rows, 0, np.uint16, 1)[:, 0]
        self._links = _column(rows, _ID_BYTES, np.uint32, header.max_m0)

    def count_from(self, record_id: str) -> int:
        """Count the records that they lead to from one."""
        return int(self._reached(record_id)[list(self._places.values())].sum())

    def lead(self, one: str, other: str) -> bool:
        """Whether they lead from one record to another one."""
        place = self._places.get(other)
        return place is not None and bool(self._reached(one)[place])

    def _reached(self, record_id: str) -> NDArray[np.bool_]:
        start = self._places.get(record_id)
        if start is None:
            return np.zeros(len(self._counts), np.bool_)
        return reachable(self._links, self._counts, start)


def _sizes(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def _expected_element_size(header: _Header, dimension: int) -> int:
    return header.max_m0 * _ID_BYTES + _ID_BYTES + dimension * _ID_BYTES + _LABEL_BYTES


def _contradiction(header: _Header, sizes: Mapping[str, int], dimension: int) -> str:
    links = header.max_m0 * _ID_BYTES + _ID_BYTES
    expected = _expected_element_size(header, dimension)
    count = header.elements
    wrong = (
        (
            header.element_size != expected,
            f"rows have {header.element_size} bytes, {dimension} dimensions ask for {expected}",
        ),
        (
            header.data_offset != links or header.label_offset != expected - _LABEL_BYTES,
            "header.bin contradicts itself",
        ),
        (
            count > header.max_elements,
            f"{count} elements are more than the {header.max_elements} there is room for",
        ),
        (
            sizes["data_level0.bin"] < count * header.element_size,
            f"data_level0.bin is too short for {count} elements",
        ),
        (
            sizes["length.bin"] < count * _COUNT.size,
            f"length.bin is too short for {count} elements",
        ),
        (
            count > 0 and header.entry_point >= count,
            f"the entry point {header.entry_point} is no element",
        ),
    )
    return next((problem for found, problem in wrong if found), "")


def _readable(
    folder: Path, header: _Header, sizes: Mapping[str, int], dimension: int, *, deep: bool
) -> HnswIndex:
    rows = _rows(folder, header)
    lists = read_link_lists((folder / "link_lists.bin").read_bytes(), header.elements, header.max_m)
    counts = _column(rows, 0, np.uint16, 1)[:, 0]
    links = _column(rows, _ID_BYTES, np.uint32, header.max_m0)
    deleted = (rows[:, 2] & _DELETED).astype(np.bool_)
    ground = read_ground_links(links, counts)
    names = read_pickle(folder / PICKLE) if PICKLE in sizes else {}
    id_to_label = names.get("id_to_label")
    return HnswIndex(
        version=header.version,
        max_elements=header.max_elements,
        count=header.elements,
        entry_point=header.entry_point,
        max_level=header.max_level,
        file_sizes_bytes=sizes,
        links_end=lists.end,
        labels=_column(rows, header.label_offset, np.uint64, 1)[:, 0],
        deleted=deleted,
        neighbours_ok=ground.ok,
        doubled=ground.doubled,
        vectors=_column(rows, header.data_offset, np.float32, dimension),
        levels_ok=lists.ok and _top_ok(header, lists.levels),
        id_to_label=id_to_label if isinstance(id_to_label, dict) else None,
        names_ok=_names_ok(names),
        unreached=_unreached(links, counts, deleted, header) if deep and ground.ok else None,
        emptied=ground.emptied,
        alone=ground.alone,
    )


def _unreached(
    links: NDArray[np.uint32],
    counts: NDArray[np.uint16],
    deleted: NDArray[np.bool_],
    header: _Header,
) -> int:
    return int((~reachable(links, counts, header.entry_point) & ~deleted).sum())


def _rows(folder: Path, header: _Header) -> NDArray[np.uint8]:
    if not header.elements:
        return np.zeros((0, header.element_size), dtype=np.uint8)
    size = header.elements * header.element_size
    flat = np.memmap(folder / "data_level0.bin", dtype=np.uint8, mode="r", shape=(size,))
    return flat.reshape(header.elements, header.element_size)


def _column(
    rows: NDArray[np.uint8], offset: int, dtype: type[_Number], width: int
) -> NDArray[_Number]:
    # The files are little endian, and so is every machine that ChromaDB runs on.
    size = np.dtype(dtype).itemsize * width
    return np.ascontiguousarray(rows[:, offset : offset + size]).view(dtype).reshape(-1, width)


def _top_ok(header: _Header, levels: NDArray[np.int64]) -> bool:
    if not header.elements:
        return True
    return bool(levels.max() == header.max_level == levels[header.entry_point])


class _PlainUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists, numbers and text; whatever asks for code is refused.

    Releases before 1.0 wrote an object of one class. Its name is taken for a class made here,
    anew each time, which has nothing but what it is given.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.names: type = type("Names", (), {})

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == _OLD_NAMES:
            return self.names
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: object) -> object:
        raise pickle.UnpicklingError(f"it asks for {pid!r}")


def read_pickle(path: Path) -> dict[str, Any]:
    """Read the names of a vector segment, executing nothing; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            reader = _PlainUnpickler(file)
            content = reader.load()
    # What a damaged pickle raises is anybody's guess; the documentation names these.
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, ValueError):
        return {}
    except (TypeError, KeyError, MemoryError, OverflowError):
        return {}
    if type(content) is reader.names:
        content = vars(content)
    return content if isinstance(content, dict) else {}


def _names_ok(names: dict[str, Any]) -> bool:
    """Whether labels lead back to their ids, and the next label is a new one."""
    id_to_label, label_to_id = names.get("id_to_label"), names.get("label_to_id")
    added = names.get("total_elements_added")
    if not isinstance(id_to_label, dict) or not isinstance(label_to_id, dict):
        return False
    if not set(map(type, id_to_label.values())) <= {int}:
        return False
    inverse = {label: record_id for record_id, label in id_to_label.items()}
    newest = max(id_to_label.values(), default=0)
    return inverse == label_to_id and isinstance(added, int) and added >= newest


def _unreadable(sizes: Mapping[str, int], problem: str, header: _Header | None = None) -> HnswIndex:
    return HnswIndex(
        version=header.version if header else 0,
        max_elements=header.max_elements if header else 0,
        count=header.elements if header else 0,
        entry_point=0,
        max_level=-1,
        file_sizes_bytes=sizes,
        links_end=-1,
        labels=np.zeros(0, dtype=np.uint64),
        deleted=np.zeros(0, dtype=np.bool_),
        neighbours_ok=False,
        vectors=np.zeros((0, 0), dtype=np.float32),
        levels_ok=False,
        id_to_label=None,
        names_ok=False,
        problem=problem,
    )
