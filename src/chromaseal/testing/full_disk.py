"""A small file system of its own, to run out of room on; needs root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_FILLER = "filler"
_PAGE_BYTES = 4096
# Whoever has a file open there may have it to the end.
_MNT_DETACH = 2
_MS_REMOUNT = 32


def why_not() -> str:
    """Say why nothing can be mounted here; empty where it can."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder) / "disk", _PAGE_BYTES):
                return ""
        except OSError as error:
            return f"no file system can be mounted here: {error}"


class SmallDisk:
    """A file system that can be filled.

    Args:
        place: where it is.
    """

    def __init__(self, place: Path) -> None:
        self.place = place

    def fill(self, *, but_bytes: int = 0) -> None:
        """Leave so many bytes of room, in whole pages."""
        self.make_room()
        found = os.statvfs(self.place)
        size_bytes = max(0, found.f_bavail * found.f_frsize - but_bytes)
        with (self.place / _FILLER).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(_PAGE_BYTES, size_bytes))

    def make_room(self) -> None:
        """Take away what fills it."""
        (self.place / _FILLER).unlink(missing_ok=True)

    def grow(self, size_bytes: int) -> None:
        """Make it so large."""
        _mount(self.place, size_bytes, _MS_REMOUNT)


@contextlib.contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mount a file system of so many bytes; see ``why_not``.

    Args:
        place: where; made when missing.
        size_bytes: how much it holds.

    Raises:
        OSError: nothing can be mounted here.
    """
    place.mkdir(parents=True, exist_ok=True)
    _mount(place, size_bytes)
    try:
        yield SmallDisk(place)
    finally:
        _call("umount2", os.fsencode(place), _MNT_DETACH)


def _mount(place: Path, size_bytes: int, flags: int = 0) -> None:
    at, options = os.fsencode(place), f"size={size_bytes}".encode()
    _call("mount", b"tmpfs", at, b"tmpfs", flags, options)


def _call(name: str, *arguments: bytes | int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
