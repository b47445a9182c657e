"""A version that is kept here -> a copy made ahead of the next one, to which little is missing.

Copying a version, checking every page and waiting for the disk takes time by the size of the
whole; what a commit changes takes time by that alone. So a follower does the former while it
waits for the next version, and the latter when it comes.

Most of the time it need not do the former either: an old copy that would be removed, and that
nobody has touched since it was made, differs from the newest version by a few commits only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from chromaseal.digests import page_digests
from chromaseal.errors import ChromasealError, Damaged
from chromaseal.parts import Parts
from chromaseal.sandbox import Progress
from chromaseal.seal.page_table import FileStamp, PageTable, Tables, differing_pages, digest_rows
from chromaseal.snapshot.checkout import check_files, sync_tree, taking_name, unfinished_beside
from chromaseal.snapshot.history import load
from chromaseal.snapshot.kept import Kept, stamps_of
from chromaseal.snapshot.layer import Pages
from chromaseal.snapshot.manifest import Version
from chromaseal.snapshot.page_file import read_pages, size_of_pages, write_pages
from chromaseal.telemetry.emit import step

_CHUNK_PAGES = 1024
_MOST_TIMES_USED_AGAIN = 15
# Readers may keep old copies open, and those stay for longer.
_COPIES_REMEMBERED = 8


@dataclass(frozen=True, slots=True)
class Spare:
    """A copy of a version, checked and durable, under a name that nobody looks for.

    Attributes:
        directory: where it is.
        tables: the pages of its files.
        stamps: of its files; whoever touches one changes them.
    """

    directory: Path
    tables: Tables
    stamps: Mapping[str, FileStamp]


def make_spare(kept: Kept, directory: Path) -> Spare:
    """Copy a version, check every page, and wait until all of it would survive a power cut.

    Args:
        kept: the version.
        directory: to be made.

    Raises:
        Damaged: what is kept is not the version; nothing is left.
        OSError: the copy cannot be made; nothing is left.
    """
    try:
        directory.mkdir()
        kept.copy_files(directory)
        check_files(kept.version.manifest, directory)
        sync_tree(directory)
        return Spare(directory, kept.tables, stamps_of(directory, kept.tables))
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def lead_on(spare: Spare, kept: Kept) -> None:
    """Make a spare the copy of another version: each page that differs is written and checked.

    When this returns, it would survive a power cut as before; when it fails, the spare is good
    for nothing.

    Raises:
        Damaged: ``bad-file``: somebody touched the spare, the version has other files, or what
            is kept is not the version.
        OSError: it cannot be written.
    """
    directory = spare.directory
    if spare.tables.keys() != kept.tables.keys() or not _is_untouched(spare):
        raise Damaged(f"{directory} cannot become another version", kind="bad-file")
    for path, table in kept.tables.items():
        if spare.tables[path] != table:
            _patch(kept, path, directory / path, differing_pages(spare.tables[path], table))


def _is_untouched(spare: Spare) -> bool:
    there = {
        path.relative_to(spare.directory).as_posix()
        for path in spare.directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    try:
        same = stamps_of(spare.directory, spare.tables) == spare.stamps
    except OSError:
        return False
    return same and there == spare.tables.keys()


def _patch(kept: Kept, path: str, target: Path, changed: Pages) -> None:
    table = kept.tables[path]
    with kept.open(path) as source, target.open("r+b", buffering=0) as copy:
        copy.truncate(table.size_bytes)
        for start in range(0, len(changed), _CHUNK_PAGES):
            pages = changed[start : start + _CHUNK_PAGES]
            write_pages(copy.fileno(), pages, source.read(pages))
            _check(read_pages(copy.fileno(), pages), pages, table, target)
        os.fsync(copy.fileno())


def _check(content: bytes, pages: Pages, table: PageTable, file: Path) -> None:
    whole = len(content) == size_of_pages(pages, table.size_bytes)
    wanted = digest_rows(table.digests)[pages].tobytes()
    if not whole or page_digests(content) != wanted:
        raise Damaged(f"pages of {file} are not what the version has", kind="bad-file")


class Copies:
    """Makes the copies of a follower's folder, out of a spare where there is one.

    Use as a context manager: the spare goes with it. While it is there, this process has a file
    of it open, by which other followers of the folder know that it is somebody's.

    Args:
        parts: what the vault consists of.
        collection: whose versions.
        folder: where the copies are.

    Attributes:
        collection: whose versions.
        folder: where the copies are.
    """

    def __init__(self, parts: Parts, collection: str, folder: Path) -> None:
        self._parts = parts
        self.collection = collection
        self.folder = folder
        self._spare: Spare | None = None
        self._held: IO[bytes] | None = None
        self._prepared = ""
        self._made: dict[str, Spare] = {}
        self._used_again = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _remove(self._taken())

    @property
    def spare(self) -> Path | None:
        """Give where the spare is, if there is one."""
        return self._spare.directory if self._spare else None

    def has_prepared(self, version_id: str) -> bool:
        """Tell whether a spare of a version was made, or cannot be."""
        return self._prepared == version_id

    def prepare(self, version_id: str) -> None:
        """Have a spare of a version that is kept here; without one the next copy takes longer."""
        old = self._taken()
        self._prepared = version_id
        with contextlib.suppress(ChromasealError, OSError), step("prepare copy") as told:
            told.note(collection=self.collection, version_id=version_id)
            version = load(self._parts.store, self.collection, version_id)
            kept = self._parts.checkouts.kept(version)
            if kept is not None and kept.tables:
                spare = self._led(old, kept)
                self._used_again = self._used_again + 1 if spare else 0
                told.note(
                    copied_bytes=0 if spare else sum(t.size_bytes for t in kept.tables.values())
                )
                self._hold(spare or self._new(version_id, kept))
                old = None if spare else old
        _remove(old)

    def use_again(self, copy: Path) -> bool:
        """Take an old copy away from a folder, to make the next version's of it.

        Only one that this process has made, that is what it was then, and that nobody has open.
        What rots on the disk meanwhile would go unseen, so now and then a copy is made anew.

        Returns:
            Whether it was taken; otherwise it is where it was.
        """
        made = self._made.pop(copy.name, None)
        if made is None or self._spare is not None or self._used_again >= _MOST_TIMES_USED_AGAIN:
            return False
        place = unfinished_beside(copy, self._parts.ids)
        try:
            copy.rename(place)
        except OSError:
            return False
        # Under its new name nobody comes to open it any more.
        spare = Spare(place, made.tables, made.stamps)
        if self._parts.file_system.open_anywhere(place) is not False or not _is_untouched(spare):
            place.rename(copy)
            return False
        self._hold(spare)
        return True

    def _led(self, old: Spare | None, kept: Kept) -> Spare | None:
        """Make an old copy the copy of another version; None where that cannot be."""
        if old is None:
            return None
        try:
            lead_on(old, kept)
            return Spare(old.directory, kept.tables, stamps_of(old.directory, kept.tables))
        except (Damaged, OSError):
            return None

    def _new(self, version_id: str, kept: Kept) -> Spare:
        return make_spare(kept, unfinished_beside(self.folder / version_id, self._parts.ids))

    def _hold(self, spare: Spare) -> None:
        self._spare = spare
        self._held = (spare.directory / min(spare.tables)).open("rb")

    def copy(self, version: Version, target: Path, progress: Progress) -> None:
        """Make the copy of a version; it appears whole, and survives a power cut.

        Raises:
            Damaged: the version cannot be fetched whole.
            NotFound: ``removed-version``, garbage collection has just taken it.
            Conflict: ``cannot-write``.
        """
        if self._spare is None or not self._lead_spare(version, target, progress):
            kept = self._parts.checkouts.copy(version, target, durable=True, progress=progress)
            self._remember(kept, target)

    def _lead_spare(self, version: Version, target: Path, progress: Progress) -> bool:
        kept = self._parts.checkouts.bring(version, progress=progress)
        spare = self._taken()
        if spare is None:
            return False
        try:
            lead_on(spare, kept)
            with taking_name(target, durable=True):
                spare.directory.replace(target)
            self._remember(kept, target)
        except (Damaged, OSError):
            # It is there to save time, and all that it can tell a copy made anew tells, too.
            return False
        finally:
            # Under this name there is something only where that went wrong.
            _remove(spare)
        return True

    def _remember(self, kept: Kept, copy: Path) -> None:
        with contextlib.suppress(OSError):
            self._made[copy.name] = Spare(copy, kept.tables, stamps_of(copy, kept.tables))
        for name in sorted(self._made)[:-_COPIES_REMEMBERED]:
            del self._made[name]

    def _taken(self) -> Spare | None:
        """Let go of the spare."""
        spare, self._spare, self._prepared = self._spare, None, ""
        if self._held is not None:
            self._held.close()
            self._held = None
        return spare


def _remove(spare: Spare | None) -> None:
    if spare is not None:
        shutil.rmtree(spare.directory, ignore_errors=True)
