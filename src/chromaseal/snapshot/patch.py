"""A file of somebody's directory -> the copy of it that is kept, by writing what changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from chromaseal.digests import DIGEST_SIZE_BYTES, PAGE_SIZE_BYTES, file_page_digests, page_digests
from chromaseal.errors import Conflict
from chromaseal.seal.page_table import differing_pages
from chromaseal.seal.sealed import SealedFile
from chromaseal.snapshot.kept import Kept


def copy_patched(file: SealedFile, source: Path, target: Path, older: Kept | None) -> None:
    """Make a copy of a sealed file that has exactly its pages.

    Args:
        file: the file.
        source: the directory that it is in; others may have begun to write there again.
        target: the directory to make it in.
        older: an earlier version: what is the same there is linked to or copied from there.

    Raises:
        Conflict: ``changed-while-reading``, the file is not what was sealed any more.
    """
    path = target / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    before = older.tables.get(file.path) if older is not None else None
    if older is None or before is None:
        shutil.copyfile(source / file.path, path)
        if file_page_digests(path) != file.table.digests:
            raise _changed(source / file.path)
    elif before == file.table:
        os.link(older.directory / file.path, path)
    else:
        shutil.copyfile(older.directory / file.path, path)
        _patch(file, source / file.path, path, differing_pages(before, file.table))


def _patch(
    file: SealedFile, source: Path, path: Path, pages: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> None:
    digests = file.table.digests
    with source.open("rb", buffering=0) as new, path.open("r+b", buffering=0) as copy:
        os.ftruncate(copy.fileno(), file.table.size_bytes)
        for page in pages.tolist():
            content = os.pread(new.fileno(), PAGE_SIZE_BYTES, page * PAGE_SIZE_BYTES)
            at = page * DIGEST_SIZE_BYTES
            if page_digests(content) != digests[at : at + DIGEST_SIZE_BYTES]:
                raise _changed(source)
            os.pwrite(copy.fileno(), content, page * PAGE_SIZE_BYTES)


def _changed(path: Path) -> Conflict:
    return Conflict(f"{path} is not what was sealed", kind="changed-while-reading")
