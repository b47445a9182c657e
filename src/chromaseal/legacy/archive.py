"""A gzip tar of somebody's -> plain files in a new directory, and nothing else.

Members that are no plain files or directories, that are called like a place outside, that come
twice, or that are more than was allowed are refused, and with them the archive. Headers are looked
at before anything is made of them: what an archive states costs no memory.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from chromaseal.errors import Damaged, RefusedInput
from chromaseal.legacy import keys

_PIECE_BYTES = 1 << 20
# A name, or a time with fractions of a second, is far shorter.
_EXTENSION_BYTES = 64 << 10
_EXTENSIONS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
_NO_NUMBERS = (ValueError, IndexError)
# Headers and padding of one member.
_MEMBER_BYTES = 4096 + _EXTENSION_BYTES


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an archive may hold.

    Attributes:
        files: plain files and directories.
        size_bytes: of all plain files together.
    """

    files: int
    size_bytes: int


def unpack(archive: Path, target: Path, bounds: Bounds) -> list[str]:
    """Unpack an archive into a directory that does not exist yet.

    Args:
        archive: a gzip tar.
        target: where to.
        bounds: what it may hold.

    Returns:
        The paths of its files.

    Raises:
        Damaged: ``bad-archive``, it cannot be read to its end, or is not what its checksum says;
            ``bad-path``, a member lies outside.
        RefusedInput: ``unsafe-archive``, a member is neither file nor directory, or there is more
            than allowed.
    """
    target.mkdir()
    try:
        with archive.open("rb") as raw, gzip.open(raw) as plain:
            bounded = _Bounded(plain, bounds.size_bytes + bounds.files * _MEMBER_BYTES)
            with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Member) as members:
                paths = _take(members, target, bounds)
            # The checksum is behind the last byte.
            while bounded.read(_PIECE_BYTES):
                pass
    # What a header states of a sparse file is taken for numbers without a look.
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, *_NO_NUMBERS) as error:
        raise Damaged(
            f"{archive.name} cannot be read to its end: {error}", kind="bad-archive"
        ) from error
    return paths


class _Member(tarfile.TarInfo):
    """A header that is refused where it states more than a header may."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        """Read a header."""
        found = super().frombuf(buf, encoding, errors)
        if found.type in _EXTENSIONS and found.size > _EXTENSION_BYTES:
            raise _unsafe(f"a header of {found.size} bytes")
        return found


class _Bounded(io.RawIOBase):
    """What is unpacked of a file, up to so many bytes."""

    def __init__(self, inner: gzip.GzipFile, size_bytes: int) -> None:
        super().__init__()
        self._inner = inner
        self._left_bytes = size_bytes

    def read(self, size: int = -1) -> bytes:
        """Read on.

        Raises:
            RefusedInput: ``unsafe-archive``, there is more than that.
        """
        piece = self._inner.read(size)
        self._left_bytes -= len(piece)
        if self._left_bytes < 0:
            raise _unsafe("more bytes than it may have")
        return piece


class _Limits:
    """Counts what was taken."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._files = 0
        self._size_bytes = 0

    def take(self, member: tarfile.TarInfo) -> None:
        self._files += 1
        self._size_bytes += max(member.size, 0)
        if self._files > self._bounds.files:
            raise _unsafe(f"more than {self._bounds.files} files")
        if member.size < 0 or self._size_bytes > self._bounds.size_bytes:
            raise _unsafe(f"more than {self._bounds.size_bytes} bytes of files")


def _take(members: tarfile.TarFile, target: Path, bounds: Bounds) -> list[str]:
    limits, paths = _Limits(bounds), list[str]()
    for member in members:
        limits.take(member)
        path = keys.inside(member.name)
        if member.isdir():
            continue
        if member.type not in _PLAIN or member.sparse is not None:
            raise _unsafe(f"{member.name!r}, which is neither a plain file nor a directory")
        if path is None:
            raise _unsafe(f"a file that is called {member.name!r}")
        if keys.is_content(path):
            paths.append(path)
            _write(members, member, target / path)
    return paths


def _write(members: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = members.extractfile(member)
    if content is None:
        raise _unsafe(f"{member.name!r}, which has no content")
    left_bytes = member.size
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            while piece := content.read(min(_PIECE_BYTES, left_bytes) or 1):
                file.write(piece)
                left_bytes -= len(piece)
    except (FileExistsError, NotADirectoryError) as error:
        raise _unsafe(f"{member.name!r} twice, or as a file and as a directory") from error
    if left_bytes:
        raise EOFError(f"{member.name} ends {left_bytes} bytes too early")


def _unsafe(what: str) -> RefusedInput:
    return RefusedInput(
        f"an archive has {what}",
        kind="unsafe-archive",
        hint="have its writer make it again from a ChromaDB directory and nothing else",
    )
