"""ChromaDB's HNSW files -> plain data, with every size checked before it is used.

The layout is hnswlib's ``saveIndex`` in five files; ``docs/formats/chromadb.md`` says which
field stands where.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from chromaseal.seal.anatomy import HnswIndex

_Number = TypeVar("_Number", bound=np.generic)

FILES = ("header.bin", "data_level0.bin", "length.bin", "link_lists.bin")
PICKLE = "index_metadata.pickle"
_HEADER = struct.Struct("<i6QiI3QdQ")
_COUNT = struct.Struct("<I")
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


def read_index(folder: Path, dimension: int) -> HnswIndex | None:
    """Read a vector segment's files.

    Args:
        folder: the segment's directory.
        dimension: numbers per vector, as SQLite has it.

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
    return _readable(folder, header, sizes, dimension)


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


def _readable(folder: Path, header: _Header, sizes: Mapping[str, int], dimension: int) -> HnswIndex:
    rows = _rows(folder, header)
    labels = _column(rows, header.label_offset, np.uint64, 1)[:, 0]
    vectors = _column(rows, header.data_offset, np.float32, dimension)
    lengths = _column(rows, 0, np.uint16, 1)[:, 0]
    neighbours = _column(rows, _ID_BYTES, np.uint32, header.max_m0)
    used = np.arange(header.max_m0) < lengths[:, None]
    links_end, levels_ok = _walk_links(folder, header)
    names = _read_pickle(folder / PICKLE) if PICKLE in sizes else {}
    id_to_label = names.get("id_to_label")
    return HnswIndex(
        version=header.version,
        max_elements=header.max_elements,
        count=header.elements,
        element_size_bytes=header.element_size,
        expected_element_size_bytes=_expected_element_size(header, dimension),
        entry_point=header.entry_point,
        max_level=header.max_level,
        file_sizes_bytes=sizes,
        links_end=links_end,
        labels=labels,
        deleted=(rows[:, 2] & _DELETED).astype(np.bool_),
        neighbours_ok=bool(
            (lengths <= header.max_m0).all() and (neighbours[used] < header.elements).all()
        ),
        vectors=vectors,
        levels_ok=levels_ok,
        id_to_label=id_to_label if isinstance(id_to_label, dict) else None,
        names_ok=_names_ok(names),
    )


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


def _walk_links(folder: Path, header: _Header) -> tuple[int, bool]:
    """Walk the chain {u32 n; n bytes} of ``link_lists.bin``, one entry per element.

    Returns:
        Where it ends, -1 if it breaks; and whether every list leads to elements that exist on
        its level, and the entry point stands on the highest level.
    """
    step = header.max_m * _ID_BYTES + _ID_BYTES
    content = (folder / "link_lists.bin").read_bytes()
    levels = np.zeros(header.elements, dtype=np.int64)
    lists: list[tuple[int, int]] = []
    position = 0
    for element in range(header.elements):
        if position + _COUNT.size > len(content):
            return -1, False
        (length,) = _COUNT.unpack_from(content, position)
        position += _COUNT.size
        if length % step or position + length > len(content):
            return -1, False
        if length:
            levels[element] = length // step
            lists.append((position, length))
        position += length
    links = np.frombuffer(content, dtype=np.uint8)
    ok = all(_list_ok(links[at : at + length], step, levels) for at, length in lists)
    return position, ok and _top_ok(header, levels)


def _list_ok(raw: NDArray[np.uint8], step: int, levels: NDArray[np.int64]) -> bool:
    """Check one element's lists: a row per level from 1, its count (u16) and its neighbours."""
    rows = np.ascontiguousarray(raw).reshape(-1, step).view(np.uint32)
    counts, neighbours = rows[:, 0] & 0xFFFF, rows[:, 1:]
    if (counts > neighbours.shape[1]).any():
        return False
    level, column = np.nonzero(np.arange(neighbours.shape[1]) < counts[:, None])
    found = neighbours[level, column]
    return bool((found < len(levels)).all() and (levels[found] > level).all())


def _top_ok(header: _Header, levels: NDArray[np.int64]) -> bool:
    if not header.elements:
        return True
    return bool(levels.max() == header.max_level == levels[header.entry_point])


class _PlainUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists, numbers and text; whatever asks for code is refused."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: object) -> object:
        raise pickle.UnpicklingError(f"it asks for {pid!r}")


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = _PlainUnpickler(file).load()
    # What a damaged pickle raises is anybody's guess; the documentation names these.
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, ValueError):
        return {}
    except (TypeError, KeyError, MemoryError, OverflowError):
        return {}
    return content if isinstance(content, dict) else {}


def _names_ok(names: dict[str, Any]) -> bool:
    """Whether labels lead back to their ids, and the next label is a new one."""
    id_to_label, label_to_id = names.get("id_to_label"), names.get("label_to_id")
    added = names.get("total_elements_added")
    if not isinstance(id_to_label, dict) or not isinstance(label_to_id, dict):
        return False
    inverse = {label: record_id for record_id, label in id_to_label.items()}
    newest = max(id_to_label.values(), default=0)
    return inverse == label_to_id and isinstance(added, int) and added >= newest


def _unreadable(sizes: Mapping[str, int], problem: str, header: _Header | None = None) -> HnswIndex:
    return HnswIndex(
        version=header.version if header else 0,
        max_elements=header.max_elements if header else 0,
        count=header.elements if header else 0,
        element_size_bytes=header.element_size if header else 0,
        expected_element_size_bytes=0,
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
