"""Damage inside the files of an HNSW index, aimed at one field each."""

from __future__ import annotations

import functools
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from chromaseal.seal.quiet import DATABASE, HEADER, PICKLE
from chromaseal.testing.corpus.case import Damage, Kind
from chromaseal.testing.corpus.file_damage import find
from chromaseal.testing.corpus.healthy import DIMENSION, Base

_LINKS = 32
_VECTOR_OFFSET = 4 + 4 * _LINKS
_LABEL_OFFSET = _VECTOR_OFFSET + 4 * DIMENSION
_ELEMENT = _LABEL_OFFSET + 8
# Of header.bin: offset and size in bytes; docs/formats/chromadb.md.
_FIELDS = {
    "version": (0, 4),
    "capacity": (12, 8),
    "elements": (20, 8),
    "bytes per element": (28, 8),
    "label's offset": (36, 8),
    "vector's offset": (44, 8),
    "highest level": (52, 4),
    "entry point": (56, 4),
    "links above": (60, 8),
    "links below": (68, 8),
}
_CODE = b"cposix\nsystem\n(S'touch executed'\ntR."


def _flushed(base: Base) -> bool:
    return base.flushed


def _field(name: str, directory: Path, _: Base, __: np.random.Generator) -> str:
    offset, size = _FIELDS[name]
    path = find(directory, HEADER)
    content = bytearray(path.read_bytes())
    old = int.from_bytes(content[offset : offset + size], "little")
    # Of the capacity more would do no harm.
    new = 1 if name == "capacity" else old + 100_000 if name == "entry point" else old + 1
    content[offset : offset + size] = new.to_bytes(size, "little")
    path.write_bytes(content)
    return f"{name} is {new} instead of {old}"


def _element(
    change: Callable[[bytearray, np.random.Generator, int], str],
    directory: Path,
    _: Base,
    chance: np.random.Generator,
    *,
    fits: Callable[[bytearray], bool] = lambda row: not row[2] & 1,
) -> str:
    """Change one element's row of ``data_level0.bin``, of those that fit: the living ones."""
    path = find(directory, "data_level0.bin")
    content = bytearray(path.read_bytes())
    elements = int.from_bytes(find(directory, HEADER).read_bytes()[20:28], "little")
    starts = range(0, elements * _ELEMENT, _ELEMENT)
    alive = [n for n, at in enumerate(starts) if fits(content[at : at + _ELEMENT])]
    place = alive[int(chance.integers(len(alive)))]
    row = content[place * _ELEMENT : (place + 1) * _ELEMENT]
    said = change(row, chance, elements)
    content[place * _ELEMENT : (place + 1) * _ELEMENT] = row
    path.write_bytes(content)
    return f"element {place}: {said}"


def _of_the_log(directory: Path, _: Base, chance: np.random.Generator) -> str:
    """Change the vector of which the log has kept the entry, as an older index would have it."""
    with closing(sqlite3.connect(directory / DATABASE)) as db:
        query = "SELECT id FROM embeddings_queue WHERE vector IS NOT NULL ORDER BY seq_id LIMIT 1"
        (record_id,) = db.execute(query).fetchone()
    label = pickle.loads(find(directory, PICKLE).read_bytes())["id_to_label"][record_id]  # noqa: S301
    path = find(directory, "data_level0.bin")
    content = bytearray(path.read_bytes())
    ends = range(_LABEL_OFFSET, len(content), _ELEMENT)
    (end,) = (e for e in ends if content[e : e + 8] == label.to_bytes(8, "little"))
    vector = chance.standard_normal(DIMENSION).astype("<f4")
    vector /= np.linalg.norm(vector)
    content[end - 4 * DIMENSION : end] = vector.tobytes()
    path.write_bytes(content)
    return f"the vector of {record_id} is an older one"


def _link(value: str, row: bytearray, _: np.random.Generator, elements: int) -> str:
    old = int.from_bytes(row[4:8], "little")
    second = int.from_bytes(row[8:12], "little")
    new = {"nowhere": elements + 5, "twice": second}[value]
    row[4:8] = new.to_bytes(4, "little")
    return f"a link leads to {new} instead of {old}"


def _room_for_more(row: bytearray) -> bool:
    return not row[2] & 1 and 1 <= row[0] <= _LINKS - 2


def _again(times: int, row: bytearray, _: np.random.Generator, __: int) -> str:
    count, first = row[0], bytes(row[4:8])
    end = 4 + 4 * count
    row[end : end + 4 * times] = first * times
    row[0] = count + times
    return f"its first link stands at its list's end as well, {times} times"


def _too_many(row: bytearray, _: np.random.Generator, __: int) -> str:
    row[0:2] = (_LINKS + 7).to_bytes(2, "little")
    return "it says that it has more links than there is room for"


def _deleted(row: bytearray, _: np.random.Generator, __: int) -> str:
    row[2] |= 1
    return "it is marked as deleted"


def _label(row: bytearray, _: np.random.Generator, __: int) -> str:
    old = int.from_bytes(row[_LABEL_OFFSET:], "little")
    row[_LABEL_OFFSET:] = (old ^ (1 << 20)).to_bytes(8, "little")
    return f"its label is no longer {old}"


def _number(value: float, row: bytearray, _: np.random.Generator, __: int) -> str:
    row[_VECTOR_OFFSET : _VECTOR_OFFSET + 4] = np.float32(value).tobytes()
    return f"its vector begins with {value}"


def _bit(row: bytearray, chance: np.random.Generator, _: int) -> str:
    # A low bit of a mantissa: the length stays what it was within single precision.
    place = _VECTOR_OFFSET + 4 * int(chance.integers(DIMENSION))
    row[place] ^= 1
    return "the last bit of a number of its vector"


def _chain(word: int, directory: Path, _: Base, chance: np.random.Generator) -> str:
    """Change a length, or a link of the lists above level 0."""
    path = find(directory, "link_lists.bin")
    words = np.frombuffer(path.read_bytes(), "<u4").copy()
    step = 16 * 4 + 4
    starts = np.flatnonzero(words == step)
    start = int(starts[int(chance.integers(len(starts)))])
    words[start + word] += 1 if word == 0 else 1_000_000
    path.write_bytes(words.tobytes())
    return f"word {start + word} of link_lists.bin"


def _pickled(change: Callable[[dict[str, Any]], str], directory: Path, _: Base, __: Any) -> str:  # noqa: ANN401
    path = find(directory, PICKLE)
    content = pickle.loads(path.read_bytes())  # noqa: S301 - our own base
    said = change(content)
    path.write_bytes(pickle.dumps(content))
    return said


def _swapped_ids(content: dict[str, Any]) -> str:
    one, other = list(content["id_to_label"])[:2]
    labels = content["id_to_label"]
    labels[one], labels[other] = labels[other], labels[one]
    return f"the labels of {one} and {other} are exchanged in one direction"


def _one_name_less(content: dict[str, Any]) -> str:
    record_id, label = content["id_to_label"].popitem()
    del content["label_to_id"][label]
    return f"{record_id} has no label"


def _old_count(content: dict[str, Any]) -> str:
    content["total_elements_added"] = 1
    return "the next label would be one that is taken"


def _label_of_text(content: dict[str, Any]) -> str:
    content["id_to_label"][next(iter(content["id_to_label"]))] = "one"
    return "a label is a text"


def _bytes(value: bytes, directory: Path, _: Base, __: np.random.Generator) -> str:
    find(directory, PICKLE).write_bytes(value)
    return f"the pickle is {value[:20]!r}"


def _damage(name: str, work: Callable[..., str], *first: object, turns: int = 2) -> Damage:
    return Damage(name, functools.partial(work, *first), fits=_flushed, turns=turns)


_MEANT = "a vector's value is nowhere else on disk"
_AS_HNSWLIB = (
    "two threads of hnswlib list a new element twice in each other's way, and which link stood "
    "there before is nowhere else on disk"
)
_VISITED_ONCE = (
    "two threads of hnswlib list a new element twice in each other's way, and a search visits it "
    "once"
)
_listed_again = functools.partial(_element, fits=_room_for_more)

DAMAGES: tuple[Damage, ...] = (
    *(_damage(f"header: {name}", _field, name, turns=1) for name in _FIELDS),
    _damage("element: link to nowhere", _element, functools.partial(_link, "nowhere")),
    _damage("element: link thrice", _listed_again, functools.partial(_again, 2)),
    _damage("element: too many links", _element, _too_many),
    _damage("element: marked deleted", _element, _deleted),
    _damage("element: other label", _element, _label),
    _damage("element: not a number", _element, functools.partial(_number, np.nan)),
    _damage("element: infinite", _element, functools.partial(_number, np.inf)),
    _damage("element: other vector than the log's", _of_the_log, turns=1),
    _damage("upper lists: length", _chain, 0),
    _damage("upper lists: link to nowhere", _chain, 2),
    _damage("pickle: labels exchanged", _pickled, _swapped_ids, turns=1),
    _damage("pickle: a name less", _pickled, _one_name_less, turns=1),
    _damage("pickle: old count", _pickled, _old_count, turns=1),
    _damage("pickle: a label of text", _pickled, _label_of_text, turns=1),
    _damage("pickle: garbage", _bytes, b"\x80\x04garbage", turns=1),
    _damage("pickle: code", _bytes, _CODE, turns=1),
    Damage(
        "element: link twice",
        functools.partial(_element, functools.partial(_link, "twice")),
        Kind.SILENT,
        _AS_HNSWLIB,
        fits=_flushed,
        turns=2,
    ),
    Damage(
        "element: link once more",
        functools.partial(_listed_again, functools.partial(_again, 1)),
        Kind.HARMLESS,
        _VISITED_ONCE,
        fits=_flushed,
        turns=2,
    ),
    Damage(
        "element: last bit of a vector",
        functools.partial(_element, _bit),
        Kind.SILENT,
        _MEANT,
        fits=_flushed,
        turns=2,
    ),
)
