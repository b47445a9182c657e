"""Who holds files of a directory, read from /proc; touches no file of the directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from chromaseal.errors import Unsupported
from chromaseal.seal.open_files import Holder

_PROC = Path("/proc")


class ProcOpenFiles:
    """Descriptors, mappings and locks of all processes that this user may look at.

    Nothing is opened or locked to find out: closing a file that another part of the same
    process has open would drop its locks.
    """

    def holders(self, directory: Path) -> list[Holder]:
        """Give every process that holds a file below a directory, this one included."""
        if not (_PROC / "self" / "fd").is_dir():
            raise Unsupported(
                "this machine has no /proc to tell which processes have files open",
                kind="no-proc",
                hint="run chromaseal on Linux",
            )
        root = f"{directory.resolve()}/"
        inodes = _inodes(directory)
        found: list[Holder] = []
        for process in _PROC.iterdir():
            if process.name.isdigit():
                found.extend(_open_in(process, root))
                found.extend(_mapped_in(process, root))
        found.extend(_locked(inodes))
        return found


def _open_in(process: Path, root: str) -> Iterator[Holder]:
    with contextlib.suppress(OSError), os.scandir(process / "fd") as descriptors:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                # A machine has thousands: objects for their paths would double what it takes.
                target = os.readlink(descriptor.path)  # noqa: PTH115
                if target.startswith(root):
                    yield Holder(int(process.name), _command(process), target, "open")


def _mapped_in(process: Path, root: str) -> Iterator[Holder]:
    with contextlib.suppress(OSError):
        maps, sought = (process / "maps").read_bytes(), os.fsencode(root)
        # Of most processes nothing is split: a machine may have hundreds of them.
        lines = maps.splitlines() if sought in maps else []
        targets = {os.fsdecode(line[line.index(sought) :]) for line in lines if sought in line}
        for target in sorted(targets):
            yield Holder(int(process.name), _command(process), target, "mapped")


def _locked(inodes: dict[str, str]) -> Iterator[Holder]:
    with contextlib.suppress(OSError):
        for line in (_PROC / "locks").read_text().splitlines():
            fields = line.replace("->", "").split()
            pid, place = fields[4], fields[5]
            if place in inodes:
                yield Holder(int(pid), _command(_PROC / pid), inodes[place], "locked")


def _inodes(directory: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):
            status = path.stat()
            major, minor = status.st_dev >> 8 & 0xFFF, status.st_dev & 0xFF
            found[f"{major:02x}:{minor:02x}:{status.st_ino}"] = str(path)
    return found


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "gone"
