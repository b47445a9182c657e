"""Somebody's directory -> what is kept of it: links to what was kept before, and what changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO

import numpy as np

from chromaseal.digests import DIGEST_SIZE_BYTES, PAGE_SIZE_BYTES, file_page_digests, page_digests
from chromaseal.seal.page_table import NO_PAGES, PageTable, differing_pages
from chromaseal.seal.sealed import Sealed, SealedFile, changed_while_reading
from chromaseal.snapshot.kept import Kept, directory_in, newer_in
from chromaseal.snapshot.layer import Pages
from chromaseal.snapshot.page_file import PageFile, size_of_pages, write_pages

# Of a file's pages, one in so many may stand apart; beyond that the file is written anew.
_APART_SHARE = 8
_CHUNK_PAGES = 1024


def fill_kept(sealed: Sealed, folder: Path, older: Kept | None) -> dict[str, Pages]:
    """Fill a folder with what it takes to have the content of a sealed directory.

    Args:
        sealed: the directory; others may have begun to write there again.
        folder: of a version to keep.
        older: an earlier version: its files are linked to where little has changed in them.

    Returns:
        By path, the pages that stand apart from their file.

    Raises:
        Conflict: ``changed-while-reading``, a file is not what was sealed any more.
    """
    stale: dict[str, Pages] = {}
    with newer_in(folder).open("wb") as newer:
        for file in sealed.files:
            source, target = sealed.directory / file.path, directory_in(folder) / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if older is None or file.path not in older.tables:
                _copy_whole(source, target, file.table)
                continue
            apart = _apart(file, older)
            if apart is None:
                _copy_patched(file, source, target, older)
            else:
                os.link(directory_in(older.folder) / file.path, target)
                _write_newer(newer, file, source, apart)
                stale[file.path] = apart
    return stale


def _apart(file: SealedFile, older: Kept) -> Pages | None:
    """Give the pages that are to stand apart; None where the file is to be written anew."""
    count = len(file.table.digests) // DIGEST_SIZE_BYTES
    changed = differing_pages(older.tables[file.path], file.table)
    apart = np.union1d(older.stale.get(file.path, NO_PAGES), changed)
    apart = apart[apart < count]
    linked_bytes = (directory_in(older.folder) / file.path).stat().st_size
    if linked_bytes > file.table.size_bytes or len(apart) * _APART_SHARE > count:
        return None
    return apart


def _copy_whole(source: Path, target: Path, table: PageTable) -> None:
    shutil.copyfile(source, target)
    if file_page_digests(target) != table.digests:
        raise changed_while_reading(source)


def _copy_patched(file: SealedFile, source: Path, target: Path, older: Kept) -> None:
    older.copy_file(file.path, target)
    changed = differing_pages(older.tables[file.path], file.table)
    with PageFile(source) as new, target.open("r+b", buffering=0) as copy:
        copy.truncate(file.table.size_bytes)
        for start in range(0, len(changed), _CHUNK_PAGES):
            pages = changed[start : start + _CHUNK_PAGES]
            write_pages(copy.fileno(), pages, _checked(new.read(pages), pages, file, source))


def _write_newer(newer: IO[bytes], file: SealedFile, source: Path, apart: Pages) -> None:
    with PageFile(source) as new:
        for start in range(0, len(apart), _CHUNK_PAGES):
            pages = apart[start : start + _CHUNK_PAGES]
            content = _checked(new.read(pages), pages, file, source)
            newer.write(content.ljust(len(pages) * PAGE_SIZE_BYTES, b"\0"))


def _checked(content: bytes, pages: Pages, file: SealedFile, source: Path) -> bytes:
    rows = np.frombuffer(file.table.digests, dtype=f"V{DIGEST_SIZE_BYTES}")
    content = content[: size_of_pages(pages, file.table.size_bytes)]
    if page_digests(content) != rows[pages].tobytes():
        raise changed_while_reading(source)
    return content
