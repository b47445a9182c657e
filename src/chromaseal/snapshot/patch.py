"""What is kept of a version, made of what is kept of an earlier one and of what changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from chromaseal.digests import PAGE_SIZE_BYTES, file_page_digests, page_digests
from chromaseal.seal.evidence import FileEntry
from chromaseal.seal.page_table import NO_PAGES, PageTable, differing_pages, digest_rows
from chromaseal.seal.sealed import Sealed, SealedFile, changed_while_reading
from chromaseal.snapshot.kept import Kept, directory_in, newer_in
from chromaseal.snapshot.layer import Pages
from chromaseal.snapshot.page_file import PageFile, size_of_pages, write_pages
from chromaseal.snapshot.restore import Apart

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
            changed = differing_pages(older.tables[file.path], file.table)
            apart = older.apart(file.path, changed, file.table.size_bytes)
            if apart is None:
                _copy_patched(file, source, target, older, changed)
            else:
                older.link_file(file.path, target)
                _write_newer(newer, file, source, apart)
                stale[file.path] = apart
    return stale


def share_kept(
    older: Kept, files: Iterable[FileEntry], touched: Mapping[str, Pages], folder: Path
) -> dict[str, Apart]:
    """Fill a folder with an earlier version's files, so that steps can lead on from there.

    Args:
        older: the earlier version: its files are linked to where little will change in them.
        files: of the version to come.
        touched: by path, the pages that the steps have, ascending.
        folder: of the version to keep.

    Returns:
        By path, where the pages are that stand apart from their file.
    """
    apart: dict[str, Apart] = {}
    with newer_in(folder).open("wb") as newer:
        for path, size_bytes in sorted((file.path, file.size_bytes) for file in files):
            if path not in older.tables:
                continue
            target = directory_in(folder) / path
            pages = older.apart(path, touched.get(path, NO_PAGES), size_bytes)
            if pages is None:
                older.copy_file(path, target)
                continue
            older.link_file(path, target)
            apart[path] = Apart(newer_in(folder), newer.tell() // PAGE_SIZE_BYTES, pages)
            for start in range(0, len(pages), _CHUNK_PAGES):
                newer.write(older.read_padded(path, pages[start : start + _CHUNK_PAGES]))
    return apart


def _copy_whole(source: Path, target: Path, table: PageTable) -> None:
    shutil.copyfile(source, target)
    if file_page_digests(target) != table.digests:
        raise changed_while_reading(source)


def _copy_patched(
    file: SealedFile, source: Path, target: Path, older: Kept, changed: Pages
) -> None:
    older.copy_file(file.path, target)
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
    content = content[: size_of_pages(pages, file.table.size_bytes)]
    if page_digests(content) != digest_rows(file.table.digests)[pages].tobytes():
        raise changed_while_reading(source)
    return content
