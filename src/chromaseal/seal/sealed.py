"""A directory -> Sealed: closed, quiet, and with a digest for every page.

Packing takes nothing else. The writer must have exited: a child process that merged, or, for a
directory of somebody else, every process that had it open.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from chromaseal.clock import Clock
from chromaseal.digests import DIGEST_SIZE_BYTES, file_page_digests, pages_in
from chromaseal.errors import Conflict, Damaged, RefusedInput, Unavailable
from chromaseal.seal.compare import compared_digests
from chromaseal.seal.open_files import Holder, OpenFiles
from chromaseal.seal.page_table import NO_PAGES, FileStamp, Known, PageTable, stamp_of
from chromaseal.seal.quiet import DATABASE
from chromaseal.telemetry.emit import event
from chromaseal.telemetry.observer import Severity

# What reading a file raises that somebody has removed or replaced since it was looked at.
FILE_CHANGED = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
JOURNAL_SUFFIXES = ("-journal", "-wal", "-shm")
_FIRST_WAIT_S = 0.005
_LONGEST_WAIT_S = 0.1
_KEY: Final = object()


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file as it was when nobody could write it.

    Attributes:
        path: relative to the directory, with slashes.
        stamp: what the file system said of it.
        table: its pages.
    """

    path: str
    stamp: FileStamp
    table: PageTable


class Sealed:
    """The proof that a directory is closed and quiet; only ``seal`` makes one."""

    __slots__ = ("directory", "files")

    def __init__(self, directory: Path, files: tuple[SealedFile, ...], *, key: object) -> None:
        if key is not _KEY:
            raise TypeError("only seal() makes a Sealed")
        self.directory = directory
        self.files = files

    @property
    def size_bytes(self) -> int:
        """Give the bytes of all its files."""
        return sum(file.table.size_bytes for file in self.files)

    @property
    def tables(self) -> dict[str, PageTable]:
        """Give the pages of every file, by path."""
        return {file.path: file.table for file in self.files}

    @property
    def stamps(self) -> dict[str, FileStamp]:
        """Give what the file system said of every file, by path."""
        return {file.path: file.stamp for file in self.files}


def seal(
    directory: Path,
    *,
    open_files: OpenFiles,
    clock: Clock,
    known: Known | None = None,
    timeout_s: float = 5.0,
) -> Sealed:
    """Prove that a directory is closed and quiet, and digest its pages.

    Waits for processes that are just closing: SQLite's descriptors were seen up to 4 ms after
    the last ``close()``.

    Args:
        directory: what to seal.
        open_files: who has files open.
        clock: for the waiting.
        known: an earlier state of the directory: files whose stamps are still the same are not
            read, others are compared with its copy.
        timeout_s: how long to wait for others to close.

    Raises:
        Conflict: ``still-open``, a process has files open.
        Conflict: ``changed-while-reading``.
        Damaged: ``hot-journal`` or ``not-a-plain-file``.
    """
    wait_until_closed(directory, open_files, clock, timeout_s)
    paths = plain_files(directory)
    for path in paths:
        if path.endswith(JOURNAL_SUFFIXES):
            event("journal found", Severity.WARNING, path=str(directory / path))
            raise Damaged(
                f"{directory / path} is there: a writer died in the middle of a change",
                kind="hot-journal",
                hint=f"chromaseal repair {directory}, which rolls it back and proves the rest",
            )
    sealed = Sealed(directory, tuple(_sealed_file(directory, p, known) for p in paths), key=_KEY)
    # Files are digested one after the other: whoever wrote one of them meanwhile is found here.
    refuse_changed(sealed)
    refuse_open(directory, open_files)
    return sealed


def refuse_changed(sealed: Sealed) -> None:
    """Refuse a directory that is not the one that was sealed any more.

    Raises:
        Conflict: ``changed-while-reading``.
    """
    directory, stamps = sealed.directory, sealed.stamps
    try:
        paths = plain_files(directory)
    except (Damaged, *FILE_CHANGED) as error:
        raise changed_while_reading(directory) from error
    others = sorted(stamps.keys() ^ set(paths))
    if others:
        raise changed_while_reading(directory / others[0])
    for path in paths:
        try:
            now = stamp_of((directory / path).stat())
        except FILE_CHANGED as error:
            raise changed_while_reading(directory / path) from error
        if now != stamps[path]:
            raise changed_while_reading(directory / path)


def wait_until_closed(
    directory: Path, open_files: OpenFiles, clock: Clock, timeout_s: float
) -> None:
    """Wait until no process has a file of a directory open.

    Raises:
        Conflict: ``still-open``.
    """
    start_s = clock.monotonic_s()
    deadline, wait_s = start_s + timeout_s, _FIRST_WAIT_S
    while holders := open_files.holders(directory):
        left_s = deadline - clock.monotonic_s()
        _tell_held(directory, holders, clock.monotonic_s() - start_s)
        if left_s <= 0:
            raise _still_open(directory, holders)
        clock.sleep(min(wait_s, left_s))
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
    waited_s = clock.monotonic_s() - start_s
    event("directory closed", Severity.DEBUG, directory=str(directory), waited_s=waited_s)


def _tell_held(directory: Path, holders: list[Holder], waited_s: float) -> None:
    # One that takes milliseconds to go is no news.
    severity = Severity.WARNING if waited_s > _LONGEST_WAIT_S else Severity.DEBUG
    for each in holders:
        event(
            "directory held",
            severity,
            directory=str(directory),
            path=str(each.path),
            pid=each.pid,
            command=each.command,
            how=each.how,
            waited_s=waited_s,
        )


def refuse_unreadable(directory: Path) -> None:
    """Refuse a directory of which this user may not read all: that says nothing of what is in it.

    Raises:
        Unavailable: ``system-error``.
    """
    for folder, _, names in os.walk(directory, onerror=_tell_unreadable):
        for name in names:
            path = Path(folder) / name
            # pathlib's question is an error where the folder may be listed only.
            is_link = os.path.islink(path)  # noqa: PTH114
            if not is_link and not os.access(path, os.R_OK, effective_ids=True):
                raise _unreadable(path)


def _tell_unreadable(error: OSError) -> None:
    if isinstance(error, PermissionError):
        raise _unreadable(Path(error.filename)) from error


def _unreadable(path: Path) -> Unavailable:
    return Unavailable(
        f"{path} may not be read by this user, so whether it is whole nobody knows",
        kind="system-error",
        hint="run it as the directory's owner, or let this user read it",
    )


def refuse_not_chromadb(directory: Path) -> None:
    """Refuse what is no ChromaDB directory.

    Raises:
        RefusedInput: ``not-chromadb``.
    """
    if not (directory / DATABASE).is_file():
        raise not_chromadb(directory)


def not_chromadb(directory: Path) -> RefusedInput:
    """Make the error for what is no ChromaDB directory."""
    why = f"it has no {DATABASE}" if directory.is_dir() else "there is no such directory"
    return RefusedInput(
        f"{directory} is no ChromaDB directory: {'it is a file' if directory.is_file() else why}",
        kind="not-chromadb",
        hint="name the directory that a chromadb.PersistentClient was opened on",
    )


def refuse_open(directory: Path, open_files: OpenFiles) -> None:
    """Refuse a directory that some process has open.

    Raises:
        Conflict: ``still-open``.
    """
    holders = open_files.holders(directory)
    if holders:
        raise _still_open(directory, holders)


def _still_open(directory: Path, holders: list[Holder]) -> Conflict:
    by_process: dict[int, list[Holder]] = {}
    for holder in holders:
        by_process.setdefault(holder.pid, []).append(holder)
    shown = [_one_process(found) for found in by_process.values()]
    return Conflict(
        f"{directory} is still open: {'; '.join(shown[:5])}",
        kind="still-open",
        hint="stop that process; setting its client to None closes nothing",
    )


def _one_process(found: list[Holder]) -> str:
    """Name one of the files that a process holds, and say how many others there are."""
    first, paths = found[0], {holder.path for holder in found}
    hows = sorted({holder.how for holder in found if holder.path == first.path})
    shown = str(replace(first, how=" and ".join(hows)))
    others = len(paths) - 1
    return f"{shown}, and {others} more file{'s' * (others > 1)}" if others else shown


def plain_files(directory: Path) -> list[str]:
    """Give the paths of a directory's files, sorted, relative to it.

    Raises:
        Damaged: ``not-a-plain-file``, something else than files and directories is in it.
    """
    found: list[str] = []
    folders = [""]
    for folder in folders:
        for entry in _entries(f"{directory}/{folder}"):
            if entry.is_file(follow_symlinks=False):
                found.append(folder + entry.name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(f"{folder}{entry.name}/")
            else:
                raise Damaged(
                    f"{directory / folder / entry.name} is neither a plain file nor a directory",
                    kind="not-a-plain-file",
                )
    return sorted(found)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    # A folder that somebody has just removed has nothing in it.
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return []


def _sealed_file(directory: Path, path: str, known: Known | None) -> SealedFile:
    try:
        before = stamp_of((directory / path).stat())
        if known is not None and known.unchanged(path, before):
            return SealedFile(path, before, known.tables[path])
        digests = _digests(directory / path, path, known)
        after = stamp_of((directory / path).stat())
    except FILE_CHANGED as error:
        raise changed_while_reading(directory / path) from error
    if before != after or pages_in(after.size_bytes) * DIGEST_SIZE_BYTES != len(digests):
        raise changed_while_reading(directory / path)
    return SealedFile(path, after, PageTable(after.size_bytes, digests))


def changed_while_reading(path: Path) -> Conflict:
    """Make the error for a file that is not what it was when it was looked at first."""
    return Conflict(f"{path} changed while it was read", kind="changed-while-reading")


def _digests(file: Path, path: str, known: Known | None) -> bytes:
    if known is not None and path in known.tables:
        # Another process may take the kept copy away at any time.
        with contextlib.suppress(*FILE_CHANGED):
            earlier, stale = known.directory / path, known.stale.get(path, NO_PAGES)
            return compared_digests(file, earlier, known.tables[path], stale=stale)
    return file_page_digests(file)
