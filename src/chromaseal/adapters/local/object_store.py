"""A directory as an object store: every write durable, whole, and won by one writer only."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from chromaseal.digests import blake3_hex
from chromaseal.errors import Conflict, NotFound, Unavailable
from chromaseal.ids import Ids, SystemIds
from chromaseal.object_store import ObjectInfo, StoredObject, check_foreign_key, check_key

_TEMPORARY = ".chromaseal-tmp"
_LOCKS = ".chromaseal-locks"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class LocalObjectStore:
    """Objects as files below one directory.

    A write goes to a temporary file, is synced, and takes its name in one step: ``create`` by
    a hard link, which fails where the name exists; ``replace`` by rename under an advisory
    lock, which the kernel releases when its holder dies. The directory must be on a local
    file system: NFS and FUSE break both promises.

    Args:
        root: the directory; made when first written to.
        ids: where the names of temporary files come from.
    """

    def __init__(self, root: Path, *, ids: Ids | None = None) -> None:
        self._root = root.absolute()
        self._ids = ids or SystemIds()

    @property
    def url(self) -> str:
        """Say where this is."""
        return self._root.as_uri()

    def make(self) -> None:
        """Make the directory that is to hold a new vault.

        Raises:
            Conflict: ``cannot-write``.
        """
        try:
            _make_directories(self._root)
            with tempfile.TemporaryFile(dir=self._root):
                pass
        except OSError as error:
            raise Conflict(
                f"no vault can be made in {self._root}: {error.strerror}",
                kind="cannot-write",
                hint="choose another place for the vault",
            ) from error

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is."""
        path = self._path(key)
        with _answered(), self._temporary(body) as temporary:
            _make_directories(path.parent)
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise Conflict(f"{key} is there already", kind="already-exists") from None
            _sync_directory(path.parent)

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``."""
        path = self._path(key)
        with _answered(), self._locked(key):
            if self._current_etag(key) != etag:
                raise Conflict(f"{key} has changed", kind="lost-race")
            with self._temporary(body) as temporary:
                temporary.replace(path)
                _sync_directory(path.parent)

    def get(self, key: str) -> StoredObject:
        """Read an object whole."""
        with _answered(), _found(key):
            body = self._path(key).read_bytes()
        return StoredObject(body, _etag(body))

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Read a part of an object."""
        with _answered(), _found(key), self._path(key).open("rb") as file:
            # Python takes the memory for all that it is asked for before it reads.
            there = os.fstat(file.fileno()).st_size - start
            if there <= 0:
                return b""
            file.seek(start)
            return file.read(min(length, there))

    def head(self, key: str) -> ObjectInfo | None:
        """Tell of an object without its content."""
        path = self._path(key)
        with _answered():
            return ObjectInfo(key, path.stat().st_size) if path.is_file() else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Tell of every object whose key starts with ``prefix``, in order."""
        folder = prefix.rpartition("/")[0]
        keys = sorted(key for key in self._keys(self._root / folder) if key.startswith(prefix))
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                yield ObjectInfo(key, (self._root / key).stat().st_size)

    def delete(self, key: str) -> None:
        """Remove an object."""
        with _answered():
            self._path(key).unlink(missing_ok=True)

    def _keys(self, folder: Path) -> Iterator[str]:
        for path, folders, files in os.walk(folder):
            folders[:] = [name for name in folders if self._is_object(name)]
            here = Path(path).relative_to(self._root).as_posix()
            for name in files:
                if self._is_object(name):
                    yield name if here == "." else f"{here}/{name}"

    def _is_object(self, name: str) -> bool:
        return not name.startswith(".")

    def _current_etag(self, key: str) -> str | None:
        path = self._path(key)
        return _etag(path.read_bytes()) if path.is_file() else None

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextlib.contextmanager
    def _temporary(self, body: bytes | memoryview) -> Iterator[Path]:
        folder = self._root / _TEMPORARY
        _make_directories(folder)
        path = folder / self._ids.unique()
        try:
            with path.open("xb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        folder = self._root / _LOCKS
        _make_directories(folder)
        with (folder / blake3_hex(key.encode())[:32]).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class ForeignDirectory(LocalObjectStore):
    """A directory whose files others have named, such as a copy of a bucket."""

    def _is_object(self, name: str) -> bool:
        return name not in {_TEMPORARY, _LOCKS}

    def _path(self, key: str) -> Path:
        return self._root / check_foreign_key(key)


def _etag(body: bytes) -> str:
    return blake3_hex(body)[:32]


@contextlib.contextmanager
def _found(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise NotFound(f"there is no object {key}", kind="no-object") from None


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Unavailable(
                f"the disk of the vault's directory is full: {error}",
                kind="store-full",
                hint="make room on it; then run the same command again",
            ) from error
        raise Unavailable(
            f"the vault's directory cannot be used: {error}",
            kind="store-unavailable",
            hint="check permissions and free space, then run the same command again",
        ) from error


def _make_directories(folder: Path) -> None:
    if not folder.is_dir():
        _make_directories(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_directory(folder.parent)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
