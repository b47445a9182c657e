"""A version as it is kept on this machine, with what is known of its pages.

::

    <folder>/directory/     files of the version or of an earlier one; never opened, never written
    <folder>/newer          pages that changed in them since, 4,096 bytes each, file after file
    <folder>/tables.json    per file: size, stamp, runs of changed pages; and which boot it was
    <folder>/digests        16 bytes per page, file after file

Files come in the order of their paths. A commit changes some hundred pages of a file that may
have gigabytes, so keeping it writes those pages and links to the file.

A power cut can leave a file with the right size and time and without its content, so after the
machine has started anew every page is checked once before anything else is believed.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chromaseal import pools
from chromaseal.digests import DIGEST_SIZE_BYTES, PAGE_SIZE_BYTES, page_digests, pages_in
from chromaseal.errors import Damaged
from chromaseal.seal.page_table import NO_PAGES, FileStamp, Known, PageTable, Tables, stamp_of
from chromaseal.seal.quiet import DATABASE
from chromaseal.seal.sealed import FILE_CHANGED, plain_files
from chromaseal.seal.verify import Before
from chromaseal.snapshot.checkout import disk_full, is_full
from chromaseal.snapshot.layer import Pages, pages_of, runs
from chromaseal.snapshot.manifest import Version
from chromaseal.snapshot.page_file import PageFile, PatchedFile, write_pages
from chromaseal.telemetry.emit import carried

_DIRECTORY = "directory"
_NEWER = "newer"
_TABLES = "tables.json"
_DIGESTS = "digests"
_CHUNK_PAGES = 1024
# Of a file's pages, one in so many may stand apart; beyond that it is written anew.
APART_SHARE = 8
_WHOLE_EVERY = 16


class Checks:
    """Looks at files that are under way in threads, each for one question that will come."""

    def __init__(self) -> None:
        self._begun: dict[str, Future[bool]] = {}

    def begin(self, path: str, look: Callable[[str], bool]) -> None:
        """Begin to look at a file."""
        pool = pools.pool(1)
        self._begun[path] = pool.submit(carried(look), path)
        pool.shutdown(wait=False)

    def take(self, path: str) -> bool | None:
        """Wait for what was found; None if nobody looked since the last question."""
        begun = self._begun.pop(path, None)
        return None if begun is None else begun.result()


@dataclass(frozen=True, slots=True)
class Kept:
    """A version on this machine.

    Attributes:
        version: which version.
        folder: where it is kept.
        tables: the pages of each file, as the manifest has them.
        stale: by path, the pages that have changed since the file in the folder, ascending.
        checks: the looks at its files that are under way.
    """

    version: Version
    folder: Path
    tables: Tables
    stale: Mapping[str, Pages] = field(default_factory=dict)
    checks: Checks = field(default_factory=Checks, repr=False, compare=False)

    def known(self, stamps: Mapping[str, FileStamp], stamped_at_ns: int) -> Known:
        """Give what is known of a copy of this version that has those stamps."""
        return Known(directory_in(self.folder), self.tables, self.stale, stamps, stamped_at_ns)

    def open(self, path: str) -> PageFile:
        """Open a file of the version for reading."""
        file, stale = directory_in(self.folder) / path, self.stale.get(path, NO_PAGES)
        if not len(stale):
            return PageFile(file)
        before = (len(pages) for other, pages in self.stale.items() if other < path)
        size_bytes = self.tables[path].size_bytes
        return PatchedFile(file, newer_in(self.folder), sum(before), stale, size_bytes)

    def copy_files(self, directory: Path) -> None:
        """Copy all files of the version.

        Raises:
            Damaged: ``bad-file``, they cannot be copied.
            Unavailable: ``disk-full``.
        """
        try:
            for path in self.tables:
                self.copy_file(path, directory / path)
        except OSError as error:
            why = f"{self.folder} cannot be copied: {error}"
            raise disk_full(why) if is_full(error) else Damaged(why, kind="bad-file") from error

    def copy_file(self, path: str, target: Path) -> None:
        """Copy a file of the version, with the folders that lead to it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(directory_in(self.folder) / path, target)
        stale, size_bytes = self.stale.get(path, NO_PAGES), self.tables[path].size_bytes
        if not len(stale):
            return
        with self.open(path) as source, target.open("r+b", buffering=0) as copy:
            copy.truncate(size_bytes)
            for start in range(0, len(stale), _CHUNK_PAGES):
                pages = stale[start : start + _CHUNK_PAGES]
                write_pages(copy.fileno(), pages, source.read(pages))

    def link_file(self, path: str, target: Path) -> None:
        """Have the file as it is in the folder at another place too, where nobody writes it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(directory_in(self.folder) / path, target)

    def apart(self, path: str, changed: Pages, size_bytes: int) -> Pages | None:
        """Give which pages are to stand apart from a file that is linked to.

        Args:
            path: the file.
            changed: its pages that have changed since this version, ascending.
            size_bytes: of the file as it has become.

        Returns:
            Their numbers, ascending; None where the file is to be written anew.
        """
        count = pages_in(size_bytes)
        pages = np.union1d(self.stale.get(path, NO_PAGES), changed)
        pages = pages[pages < count]
        linked_bytes = (directory_in(self.folder) / path).stat().st_size
        if linked_bytes > size_bytes or len(pages) * APART_SHARE > count:
            return None
        return pages

    def read_padded(self, path: str, pages: Pages) -> bytes:
        """Read pages of a file, some of which it may not have; zeros stand for what is missing."""
        there = pages[pages < pages_in(self.tables[path].size_bytes)]
        with self.open(path) as file:
            return file.read(there).ljust(len(pages) * PAGE_SIZE_BYTES, b"\0")

    def begin_check(self) -> None:
        """Begin to look at the database; ``is_sound`` then tells what came of it, once.

        For whoever has just made a copy: where that is the same as this later on, and this was
        sound after it was made, both are.
        """
        self.checks.begin(DATABASE, self._look)

    def is_sound(self, path: str) -> bool:
        """Tell whether a file still has the pages that it had when it was kept."""
        found = self.checks.take(path)
        return self._look(path) if found is None else found

    def _look(self, path: str) -> bool:
        try:
            return self._has_its_pages(path)
        except FILE_CHANGED:
            # What is kept may be replaced by something newer at any time.
            return False

    def _has_its_pages(self, path: str) -> bool:
        digests, count = self.tables[path].digests, pages_in(self.tables[path].size_bytes)
        with self.open(path) as file:
            for first in range(0, count, _CHUNK_PAGES):
                pages = np.arange(first, min(first + _CHUNK_PAGES, count), dtype=np.int64)
                at = first * DIGEST_SIZE_BYTES
                found = page_digests(file.read(pages))
                if found != digests[at : at + len(pages) * DIGEST_SIZE_BYTES]:
                    return False
        return True

    def as_before(self) -> Before | None:
        """Give what there is to compare the next version with.

        Returns:
            None where that is to be looked at as a whole: one version in so many is, so that
            nothing goes unseen for long that only a look at everything shows.
        """
        manifest = self.version.manifest
        if (manifest.number + 1) % _WHOLE_EVERY == 0:
            return None
        return Before(
            name=f"version {manifest.number}",
            tables=self.tables,
            collections=manifest.collections,
            read=functools.partial(self.read_padded, DATABASE),
            is_sound=self.is_sound,
        )


def stamps_of(directory: Path, tables: Tables) -> dict[str, FileStamp]:
    """Take the stamps of a directory's files."""
    return {path: stamp_of((directory / path).stat()) for path in tables}


def directory_in(folder: Path) -> Path:
    """Give where the files of a kept version stand in its folder."""
    return folder / _DIRECTORY


def newer_in(folder: Path) -> Path:
    """Give where the pages stand that changed in those files since."""
    return folder / _NEWER


def write_kept(
    folder: Path, tables: Tables, boot_id: str, *, stale: Mapping[str, Pages] | None = None
) -> None:
    """Write down what is known of a folder, which is complete but for that.

    Args:
        folder: holds the files, and the pages that changed in them since.
        tables: the pages of each file as it has become.
        boot_id: of the machine as it runs now.
        stale: by path, which pages those are; without it, none.
    """
    newer, stamps = stale or {}, stamps_of(directory_in(folder), tables)
    if not newer_in(folder).exists():
        newer_in(folder).touch()
    files = {
        path: {
            "size_bytes": tables[path].size_bytes,
            "stamp": asdict(stamps[path]),
            "newer": runs(newer.get(path, NO_PAGES)),
        }
        for path in sorted(tables)
    }
    (folder / _DIGESTS).write_bytes(b"".join(tables[path].digests for path in sorted(tables)))
    temporary = folder / f"{_TABLES}.new"
    stamp = asdict(stamp_of(newer_in(folder).stat()))
    told = {"boot_id": boot_id, "newer": stamp, "files": files}
    temporary.write_bytes(json.dumps(told).encode())
    temporary.replace(folder / _TABLES)


def read_kept(folder: Path, version: Version, boot_id: str) -> Kept | None:
    """Read what is kept of a version.

    Args:
        folder: where it is kept.
        version: which version.
        boot_id: of the machine as it runs now; after another one every page is checked.

    Returns:
        None if there is nothing, if a file was touched since or is one too many, or if what is
        written down is not what the manifest says.
    """
    try:
        plain = json.loads((folder / _TABLES).read_bytes())
        kept = Kept(version, folder, _tables(folder, plain["files"]), _stale(plain["files"]))
        if _is_touched(kept, plain):
            return None
        told = {path: table.entry(path) for path, table in kept.tables.items()}
        if told != {entry.path: entry for entry in version.manifest.files}:
            return None
        if plain["boot_id"] != boot_id:
            if not all(map(kept.is_sound, kept.tables)):
                return None
            write_kept(folder, kept.tables, boot_id, stale=kept.stale)
    except (OSError, ValueError, TypeError, KeyError, IndexError, Damaged):
        return None
    return kept


def _is_touched(kept: Kept, plain: dict[str, Any]) -> bool:
    directory = directory_in(kept.folder)
    stamps = {path: FileStamp(**file["stamp"]) for path, file in plain["files"].items()}
    then = _lasting(stamps | {_NEWER: FileStamp(**plain["newer"])})
    newer = {_NEWER: stamp_of(newer_in(kept.folder).stat())}
    now = _lasting(stamps_of(directory, kept.tables) | newer)
    return then != now or plain_files(directory) != sorted(kept.tables)


def _lasting(stamps: Mapping[str, FileStamp]) -> dict[str, tuple[int, int, int]]:
    # Not the time of the last change: a later version that shares a file links to it.
    return {path: (s.size_bytes, s.modified_ns, s.inode) for path, s in stamps.items()}


def _tables(folder: Path, files: dict[str, Any]) -> dict[str, PageTable]:
    digests = (folder / _DIGESTS).read_bytes()
    tables, start = {}, 0
    for path in sorted(files):
        size_bytes = files[path]["size_bytes"]
        length = pages_in(size_bytes) * DIGEST_SIZE_BYTES
        tables[path] = PageTable(size_bytes, digests[start : start + length])
        start += length
    return tables


def _stale(files: dict[str, Any]) -> dict[str, Pages]:
    return {path: pages_of(file["newer"]) for path, file in files.items() if file["newer"]}


def tables_in(folder: Path) -> Tables | None:
    """Read what is written down of a folder's pages; None where that cannot be read.

    For a version whose manifest is lost: nothing else says what its files were.
    """
    try:
        return _tables(folder, json.loads((folder / _TABLES).read_text())["files"]) or None
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return None
