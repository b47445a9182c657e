"""Files -> a zip of them, the same bytes for the same files, measured against Lambda's limits."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chromaseal.errors import Unsupported

# What Lambda takes of a zip and its layers, unpacked.
UNZIPPED_LIMIT_BYTES = 262_144_000
# The first moment that a zip can name; when files were installed says nothing about them.
_MOMENT = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644
_UNIX = 3
_LEVEL = 6


@dataclass(frozen=True, slots=True)
class PackedFile:
    """One file of a package.

    Attributes:
        name: its path in the zip, with slashes.
        path: where it is.
    """

    name: str
    path: Path

    @property
    def size_bytes(self) -> int:
        """Give its size."""
        return self.path.stat().st_size


def in_order(files: Iterable[PackedFile]) -> list[PackedFile]:
    """Give each name once, in the order of names; of two with one name the later one."""
    return sorted({each.name: each for each in files}.values(), key=lambda each: each.name)


def check_size(unzipped_bytes: int, largest: Sequence[str]) -> None:
    """Refuse what Lambda would refuse.

    Args:
        unzipped_bytes: of all files.
        largest: names of the packages that take most.

    Raises:
        Unsupported: ``package-too-large``.
    """
    if unzipped_bytes > UNZIPPED_LIMIT_BYTES:
        raise Unsupported(
            f"the functions' code has {unzipped_bytes} bytes, and Lambda takes a zip of "
            f"{UNZIPPED_LIMIT_BYTES} at most, unpacked; most of it is {', '.join(largest)}",
            kind="package-too-large",
            hint="build the image of deploy/Dockerfile and deploy it with ImageUri; --any-size "
            "makes the zip all the same",
        )


def pack(files: Sequence[PackedFile], target: Path) -> None:
    """Write a zip beside its place, and put it there when it is whole.

    Args:
        files: in order.
        target: the zip; what is there is replaced.
    """
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as made:
            for each in files:
                made.writestr(_entry(each.name), each.path.read_bytes(), compresslevel=_LEVEL)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _MOMENT)
    entry.create_system = _UNIX
    entry.external_attr = _MODE << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
