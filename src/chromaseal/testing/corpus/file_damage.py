"""Damage to files as such: lost, cut, emptied, zeroed, swapped, or of another version."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from chromaseal.seal.quiet import DATABASE, PICKLE
from chromaseal.testing.corpus.case import Damage, Kind
from chromaseal.testing.corpus.healthy import Base

_PAGE = 4096
_INDEX = ("header.bin", "data_level0.bin", "length.bin", "link_lists.bin", PICKLE)
_LENGTHS = "length.bin"
# The first byte of a page of a table or an index.
_TREE_PAGES = (2, 5, 10, 13)


def _flushed(base: Base) -> bool:
    return base.flushed


def find(directory: Path, name: str) -> Path:
    """Give the database, or a file of the one index that was ever flushed."""
    if name == DATABASE:
        return directory / DATABASE
    (pickled,) = directory.glob(f"*/{PICKLE}")
    return pickled.with_name(name)


def _missing(name: str, directory: Path, _: Base, __: np.random.Generator) -> str:
    find(directory, name).unlink()
    return f"{name} is gone"


def _emptied(name: str, directory: Path, _: Base, __: np.random.Generator) -> str:
    find(directory, name).write_bytes(b"")
    return f"{name} is empty"


def _halved(name: str, directory: Path, _: Base, __: np.random.Generator) -> str:
    path = find(directory, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return f"{name} has half its size"


def _cut(name: str, directory: Path, _: Base, __: np.random.Generator) -> str:
    path = find(directory, name)
    path.write_bytes(path.read_bytes()[: -min(_PAGE, path.stat().st_size)])
    return f"{name} has lost its last page"


def _zeroed(name: str, directory: Path, _: Base, chance: np.random.Generator) -> str:
    path = find(directory, name)
    content = bytearray(path.read_bytes())
    free = free_pages(bytes(content)) if name == DATABASE else []
    pages = [p for p in _pages(content) if any(content[p]) and p.start // _PAGE not in free]
    chosen = pages[int(chance.integers(len(pages)))]
    content[chosen] = bytes(chosen.stop - chosen.start)
    path.write_bytes(content)
    return f"page {chosen.start // _PAGE} of {name} is zero"


def free_pages(database: bytes) -> list[int]:
    """Give the pages of an SQLite file that nothing is in, counted from 0.

    Source: the SQLite file format, "The Freelist": trunk pages are a chain, each with the number
    of the next one, a count, and that many numbers of pages that are not read any more.
    """
    found: list[int] = []
    trunk = int.from_bytes(database[32:36], "big")
    while trunk:
        page = database[(trunk - 1) * _PAGE : trunk * _PAGE]
        count = int.from_bytes(page[4:8], "big")
        numbers = (page[8 + 4 * n : 12 + 4 * n] for n in range(count))
        found += [trunk - 1, *(int.from_bytes(number, "big") - 1 for number in numbers)]
        trunk = int.from_bytes(page[:4], "big")
    return found


def _free_page_zeroed(directory: Path, _: Base, __: np.random.Generator) -> str:
    path = find(directory, DATABASE)
    content = bytearray(path.read_bytes())
    # The last page is no trunk: those stand first in their list.
    page = free_pages(bytes(content))[-1]
    content[page * _PAGE : (page + 1) * _PAGE] = bytes(_PAGE)
    path.write_bytes(content)
    return f"page {page} of {DATABASE}, which is free, is zero"


def _swapped(name: str, directory: Path, _: Base, chance: np.random.Generator) -> str:
    path = find(directory, name)
    content = bytearray(path.read_bytes())
    pages = [p for p in _pages(content) if p.stop - p.start == _PAGE]
    if name == DATABASE:
        # Of tables and indexes, with something in them: two empty ones are alike.
        free = free_pages(bytes(content))
        pages = [p for p in pages if p.start // _PAGE not in free and _has_cells(content[p])]
    one, other = (pages[int(n)] for n in chance.choice(len(pages), 2, replace=False))
    content[one], content[other] = content[other], content[one]
    path.write_bytes(content)
    return f"pages {one.start // _PAGE} and {other.start // _PAGE} of {name} have changed places"


def _pages(content: bytearray) -> Iterator[slice]:
    return (slice(n, min(n + _PAGE, len(content))) for n in range(0, len(content), _PAGE))


def _has_cells(page: bytearray) -> bool:
    return page[0] in _TREE_PAGES and any(page[3:5])


def _of_older(name: str, directory: Path, base: Base, _: np.random.Generator) -> str:
    shutil.copyfile(find(base.older, name), find(directory, name))
    return f"{name} is of the version before"


def _older_index(directory: Path, base: Base, _: np.random.Generator) -> str:
    for name in _INDEX:
        shutil.copyfile(find(base.older, name), find(directory, name))
    return "the whole index is of the version before"


def _renamed(directory: Path, _: Base, __: np.random.Generator) -> str:
    folder = find(directory, "header.bin").parent
    folder.rename(folder.with_name("0" * 8 + folder.name[8:]))
    return "the index's folder has another name"


def _folder_missing(directory: Path, _: Base, __: np.random.Generator) -> str:
    shutil.rmtree(find(directory, "header.bin").parent)
    return "the index's folder is gone"


def _linked(name: str, directory: Path, _: Base, __: np.random.Generator) -> str:
    path = find(directory, name)
    moved = directory.with_name(f"{directory.name}-{name}")
    path.rename(moved)
    path.symlink_to(moved)
    return f"{name} is a link to somewhere else"


def _journal(directory: Path, _: Base, __: np.random.Generator) -> str:
    magic = bytes.fromhex("d9d505f920a163d7")
    (directory / f"{DATABASE}-journal").write_bytes(magic + bytes(1016))
    return "a journal with a header was left behind"


def _stray(directory: Path, _: Base, __: np.random.Generator) -> str:
    (directory / "notes.txt").write_text("not ChromaDB's")
    return "a file that ChromaDB does not know"


def _left_folder(directory: Path, _: Base, __: np.random.Generator) -> str:
    folder = find(directory, "header.bin").parent
    shutil.copytree(folder, folder.with_name("0" * 8 + folder.name[8:]))
    return "the index's folder is there twice, under another name"


def _each(
    verb: str, apply: Callable[..., str], names: tuple[str, ...], turns: int = 1
) -> Iterator[Damage]:
    for name in names:
        yield Damage(
            f"{name} {verb}",
            functools.partial(apply, name),
            fits=(lambda _: True) if name == DATABASE else _flushed,
            turns=turns,
        )


_CUT_LENGTHS = "only its size counts: what is in it was never written by anybody"
_TWICE = "no segment has that name; deleted collections leave such folders behind"

DAMAGES: tuple[Damage, ...] = (
    *_each("missing", _missing, (DATABASE, *_INDEX)),
    *_each("emptied", _emptied, (DATABASE, *_INDEX)),
    *_each("halved", _halved, (DATABASE, *_INDEX)),
    *_each("short by a page", _cut, (DATABASE, *_INDEX)),
    *_each("page zeroed", _zeroed, (DATABASE,), turns=4),
    *_each("page zeroed", _zeroed, ("data_level0.bin", PICKLE), turns=3),
    *_each("pages swapped", _swapped, (DATABASE, "data_level0.bin", PICKLE), turns=3),
    *_each("of the version before", _of_older, tuple(n for n in _INDEX if n != _LENGTHS)),
    Damage(
        f"{DATABASE} of the version before",
        functools.partial(_of_older, DATABASE),
        # Without a flushed index the database is all there is, so that is the version before.
        fits=_flushed,
    ),
    *_each("replaced by a link", _linked, (DATABASE, "data_level0.bin")),
    Damage("index of the version before", _older_index, fits=_flushed),
    Damage("index folder renamed", _renamed, fits=_flushed),
    Damage("index folder missing", _folder_missing, fits=_flushed),
    Damage("journal left behind", _journal),
    Damage("stray file", _stray, Kind.HARMLESS, "ChromaDB never looks at it"),
    Damage(
        f"{DATABASE} free page zeroed",
        _free_page_zeroed,
        Kind.HARMLESS,
        "SQLite reads nothing of a free page",
        fits=_flushed,
    ),
    Damage("index folder twice", _left_folder, Kind.HARMLESS, _TWICE, fits=_flushed),
    Damage(
        "length.bin page zeroed",
        functools.partial(_zeroed, _LENGTHS),
        Kind.HARMLESS,
        _CUT_LENGTHS,
        fits=_flushed,
    ),
)
