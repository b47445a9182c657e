"""The kernel's lists of locks, by process and by descriptor, as plain data."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from chromaseal.adapters.linux.process_facts import as_text, read
from chromaseal.seal.open_files import HeldLock

_ACCESS: Final = {os.O_RDONLY: "read", os.O_WRONLY: "write", os.O_RDWR: "read and write"}
# An open that gives a name and no content.
_O_PATH: Final = 0o10000000
# Stands before a lock that is yet to be got.
_WAITING: Final = "->"


class KernelLock(NamedTuple):
    """A line of the kernel's list; the process is -1 where the lock is a descriptor's."""

    pid: int
    held: HeldLock


def kernel_locks(files: Mapping[tuple[int, int], str]) -> Iterator[KernelLock]:
    """Give the locks on files, and who waits for one.

    Args:
        files: their names, by device and inode.
    """
    names = {
        f"{os.major(device):02x}:{os.minor(device):02x}:{inode}": name
        for (device, inode), name in files.items()
    }
    listed = b""
    with contextlib.suppress(PermissionError):
        listed = read("/proc/locks")
    for line in listed.decode(errors="replace").splitlines():
        fields = line.split()
        with contextlib.suppress(ValueError, IndexError):
            name = names.get(fields[6 if fields[1] == _WAITING else 5])
            if name is not None:
                yield _parsed(fields, name)


def descriptor_info(path: str, name: str) -> tuple[str, frozenset[HeldLock]]:
    """Read what a descriptor may do, and its locks.

    Args:
        path: below ``fdinfo`` of the process.
        name: of the file that it leads to.
    """
    access, locks = "read and write", set()
    for line in read(path).decode().splitlines():
        key, _, value = line.partition(":")
        if key == "flags":
            flags = int(value, 8)
            access = "none" if flags & _O_PATH else _ACCESS.get(flags & os.O_ACCMODE, access)
        elif key == "lock":
            with contextlib.suppress(ValueError, IndexError):
                locks.add(_parsed(value.split(), name).held)
    return access, frozenset(locks)


def _parsed(fields: list[str], name: str) -> KernelLock:
    """Read a line such as ``1: POSIX ADVISORY READ 812 fe:00:3317777 1073741826 1073742335``."""
    waiting = fields[1] == _WAITING
    kind, _, mode, pid, _, first, last = fields[2:9] if waiting else fields[1:8]
    held = HeldLock(
        as_text(name),
        "OFD" if kind == "OFDLCK" else kind,
        exclusive=mode != "READ",
        first=int(first),
        last=None if last == "EOF" else int(last),
        waiting=waiting,
    )
    return KernelLock(int(pid), held)
