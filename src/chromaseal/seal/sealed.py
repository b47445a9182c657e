"""A directory -> Sealed: closed, quiet, and with a digest for every page.

Packing takes nothing else. The writer must have exited: a child process that merged, or, for a
directory of somebody else, every process that had it open.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chromaseal.clock import Clock
from chromaseal.digests import file_digest_hex, file_page_digests
from chromaseal.errors import Conflict, Damaged
from chromaseal.seal.evidence import FileEntry
from chromaseal.seal.open_files import Holder, OpenFiles

_JOURNAL_SUFFIXES = ("-journal", "-wal", "-shm")
_FIRST_WAIT_S = 0.005
_KEY: Final = object()


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file as it was when nobody could write it.

    Attributes:
        path: relative to the directory, with slashes.
        size_bytes: of the file.
        modified_ns: its modification time.
        digests: 32 bytes per page.
    """

    path: str
    size_bytes: int
    modified_ns: int
    digests: bytes

    @property
    def entry(self) -> FileEntry:
        """Give what a manifest says of the file."""
        return FileEntry(self.path, self.size_bytes, file_digest_hex(self.digests))


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
        return sum(file.size_bytes for file in self.files)


def seal(directory: Path, *, open_files: OpenFiles, clock: Clock, timeout_s: float = 5.0) -> Sealed:
    """Prove that a directory is closed and quiet, and digest its pages.

    Waits for processes that are just closing: SQLite's descriptors were seen up to 4 ms after
    the last ``close()``.

    Raises:
        Conflict: ``still-open``, a process has files open.
        Conflict: ``changed-while-reading``.
        Damaged: ``hot-journal`` or ``not-a-plain-file``.
    """
    _wait_until_closed(directory, open_files, clock, timeout_s)
    files = tuple(_sealed_file(directory, path) for path in _plain_files(directory))
    for file in files:
        if file.path.endswith(_JOURNAL_SUFFIXES):
            raise Damaged(
                f"{directory / file.path} is there: a writer died in the middle of a change",
                kind="hot-journal",
                hint="open and close the directory once with ChromaDB, which rolls it back",
            )
    return Sealed(directory, files, key=_KEY)


def _wait_until_closed(
    directory: Path, open_files: OpenFiles, clock: Clock, timeout_s: float
) -> None:
    deadline = clock.monotonic_s() + timeout_s
    wait_s = _FIRST_WAIT_S
    while holders := open_files.holders(directory):
        if clock.monotonic_s() + wait_s > deadline:
            raise _still_open(directory, holders)
        clock.sleep(wait_s)
        wait_s *= 2


def _still_open(directory: Path, holders: list[Holder]) -> Conflict:
    shown = "; ".join(str(holder) for holder in holders[:5])
    return Conflict(
        f"{directory} is still open: {shown}",
        kind="still-open",
        hint="stop that process; setting its client to None closes nothing",
    )


def _plain_files(directory: Path) -> list[str]:
    found: list[str] = []
    for folder, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = Path(folder) / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.append(path.relative_to(directory).as_posix())
            elif not stat.S_ISDIR(mode):
                raise Damaged(
                    f"{path} is neither a plain file nor a directory", kind="not-a-plain-file"
                )
    return sorted(found)


def _sealed_file(directory: Path, path: str) -> SealedFile:
    before = (directory / path).stat()
    digests = file_page_digests(directory / path)
    after = (directory / path).stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Conflict(
            f"{directory / path} changed while it was read", kind="changed-while-reading"
        )
    return SealedFile(path, after.st_size, after.st_mtime_ns, digests)
