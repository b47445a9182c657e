"""What Linux knows of the file system that a directory is on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import tempfile
from pathlib import Path
from typing import Final

# Nobody reads these on another machine, so that this one's kernel knows of everybody. On others it
# gives leases too, as on FUSE, by what it knows.
_OF_ONE_MACHINE: Final = frozenset(
    ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs")
)
_MOUNT_ID: Final = re.compile(r"^mnt_id:\s*(\d+)$", re.MULTILINE)


class LinuxFileSystem:
    """The list of mounts, and leases on files.

    Args:
        mounts: where the list is.
    """

    def __init__(self, mounts: Path = Path("/proc/self/mountinfo")) -> None:
        self._mounts = mounts

    def kind(self, directory: Path) -> str:
        """Name the kind of a directory's file system, as ``mount`` does; empty if nothing tells."""
        try:
            mounts = self._mounts.read_text(errors="replace")
            return kind_in(mounts, *_mount_of(directory))
        except OSError:
            return ""

    def open_anywhere(self, directory: Path) -> bool | None:
        """Tell whether any process of this machine has a file of a directory open or mapped.

        A write lease is given on a file that nobody else has open, whatever containers there are
        (``fcntl(2)``, F_SETLEASE).

        Returns:
            None where the file system, or the owner of the files, does not allow the question, or
            where other machines may have it open.
        """
        if self.kind(directory) not in _OF_ONE_MACHINE:
            return None
        with contextlib.suppress(OSError):
            files = [p for p in directory.rglob("*") if not p.is_symlink() and not p.is_dir()]
            if all(map(_is_free, files)):
                return False
            # Where nothing can be leased, that says nothing.
            with tempfile.TemporaryFile(dir=directory.parent) as nobodys:
                return True if _can_be_leased(nobodys.fileno()) else None
        return None


def kind_in(mounts: str, mount_id: str, device: str) -> str:
    """Find the kind of a file system in the list of mounts; empty where it is not in it.

    Args:
        mounts: as in ``/proc/self/mountinfo``.
        mount_id: of the mount; empty where the kernel does not tell.
        device: ``major:minor``, for that case. Parts of one Btrfs have others than their mount.
    """
    column, wanted = (0, mount_id) if mount_id else (2, device)
    for line in mounts.splitlines():
        mount, _, file_system = line.partition(" - ")
        fields = mount.split()
        if len(fields) > column and fields[column] == wanted:
            return file_system.split()[0]
    return ""


def _mount_of(directory: Path) -> tuple[str, str]:
    """Give the number of the mount that a directory is on, if that is told, and its device's."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        told = _MOUNT_ID.search(Path(f"/proc/self/fdinfo/{descriptor}").read_text())
        device = os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)
    return told[1] if told else "", f"{os.major(device)}:{os.minor(device)}"


def _is_free(file: Path) -> bool:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return _can_be_leased(descriptor)
    finally:
        os.close(descriptor)


def _can_be_leased(descriptor: int) -> bool:
    # Whoever opens the file meanwhile waits for the end of the lease, and this process is told by a
    # signal; the usual one would end it, and this one is ignored by default.
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True
