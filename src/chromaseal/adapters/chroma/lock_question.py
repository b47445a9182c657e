"""Sizes, times, header, journal and locks of a directory, asked for by a process of its own.

``python -I -S lock_question.py DIRECTORY DATABASE NAME:FIRST:LENGTH ...`` answers as JSON.
Whatever it opens is closed by its end, which cannot drop a lock of whoever asked. It takes no lock;
it asks the kernel which ones would be in the way, and so learns of those too that a process in
another container or on another machine has. It imports nothing but the standard library, so that
asking takes hundredths of a second.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

_FLOCK: Final = struct.Struct("hhqqi4x")
_HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
_WRITE_AHEAD: Final = 2
_LOOKS: Final = 5


def look(directory: Path, database: str, asked: Sequence[tuple[str, int, int]]) -> dict[str, Any]:
    """Tell of a directory's files; only for a process that ChromaDB has nothing open in.

    Args:
        directory: which one.
        database: the name of the database in it.
        asked: names, first bytes and lengths of the locks that are asked for.
    """
    answer: dict[str, Any] = {}
    try:
        with _opened(directory / database) as opened:
            if opened is not None:
                answer = _database(opened, directory / f"{database}-journal", asked)
    except OSError as error:
        answer["problem"] = f"{database} could not be looked at: {error.strerror}"
    files = {
        os.fsencode(name).decode("utf-8", "backslashreplace"): [status.st_size, status.st_mtime_ns]
        for name, status in _files(directory)
    }
    return answer | {"files": files}


def _database(
    database: int, journal: Path, asked: Sequence[tuple[str, int, int]]
) -> dict[str, Any]:
    header = os.pread(database, _HEADER_BYTES, 0)
    sound = len(header) == _HEADER_BYTES and header.startswith(_MAGIC)
    answer: dict[str, Any] = {"write_ahead": header[18] == _WRITE_AHEAD if sound else None}
    filled, locks = False, _locks(database, asked)
    for _ in range(_LOOKS):
        with _opened(journal) as file:
            filled = file is not None and _is_filled(file)
            locks = _locks(database, asked)
            # While it is open no other journal can have its inode: if it is still there, it was
            # there as the locks were asked for.
            if file is None or not filled or (os.fstat(file).st_nlink and _is_filled(file)):
                break
            filled = False
    return answer | {"journal_filled": filled, "locks": locks}


def _locks(database: int, asked: Sequence[tuple[str, int, int]]) -> dict[str, tuple[bool, int]]:
    """Ask which locks would be in a writer's way: whether they are exclusive, and whose."""
    found = {}
    for name, first, length in asked:
        flock = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, length, 0)
        answer = fcntl.fcntl(database, fcntl.F_GETLK, flock)
        kind, _, _, _, pid = _FLOCK.unpack(answer)
        if kind != fcntl.F_UNLCK:
            found[name] = (kind == fcntl.F_WRLCK, pid)
    return found


def _is_filled(journal: int) -> bool:
    """Tell whether there is anything to roll back; a journal not yet synced begins with zeros."""
    return os.pread(journal, 1, 0) not in {b"", b"\0"}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """Open a plain file for reading; None where there is none."""
    descriptor = None
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISREG(path.lstat().st_mode):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _files(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder) / name
            with contextlib.suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield path.relative_to(directory).as_posix(), status


def _asked(text: str) -> tuple[str, int, int]:
    name, first, length = text.split(":")
    return name, int(first), int(length)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look(Path(sys.argv[1]), sys.argv[2], [*map(_asked, sys.argv[3:])])))
