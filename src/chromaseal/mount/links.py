"""Whether files of several versions on a mount may be one file, and whether such links have held.

A hard link is a promise that not every file system keeps. Through FUSE the names of one file share
a number by which clients find it, and one that remembers the name that has gone loses the others:
another machine sees that, the one that made the link does not. So such a mount gets copies, without
a trial that would prove nothing; on any other a trial decides, and what was linked is looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from chromaseal.seal.evidence import FileEntry

_FUSE: Final = re.compile(r"fuse(blk)?(\..*)?")


def may_link(kind: str, probe: Path) -> bool:
    """Whether links can be relied on here, as far as one machine can find out.

    Args:
        kind: of the mount's file system; empty where nothing tells.
        probe: an empty directory on the mount, whose content goes with it.

    Raises:
        OSError: not even a file can be made.
    """
    if _FUSE.fullmatch(kind):
        return False
    older, newer = probe / "older", probe / "newer"
    older.mkdir()
    newer.mkdir()
    (older / "file").write_bytes(b"x")
    try:
        os.link(older / "file", newer / "file")
        # As with a version: it gets its name, and the older one goes.
        named = newer.rename(probe / "named")
        (older / "file").unlink()
        return os.listdir(named) == ["file"] and (named / "file").read_bytes() == b"x"  # noqa: PTH208 - names, no paths
    except OSError:
        return False


def is_all_there(directory: Path, entries: Iterable[FileEntry]) -> bool:
    """Whether every file of a version is listed with its size, and can be opened.

    Args:
        directory: of the version's files, synced.
        entries: what its manifest lists.
    """
    listed: dict[Path, set[str]] = {}
    try:
        for entry in entries:
            file = directory / entry.path
            if file.parent not in listed:
                listed[file.parent] = set(os.listdir(file.parent))  # noqa: PTH208 - names, no paths
            if file.name not in listed[file.parent] or file.lstat().st_size != entry.size_bytes:
                return False
            with file.open("rb") as content:
                if entry.size_bytes and not content.read(1):
                    return False
    except OSError:
        return False
    return True
