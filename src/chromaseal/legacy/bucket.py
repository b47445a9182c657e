"""The bucket of the existing pipeline, only read: snapshots and deltas -> directories.

Readers of the pipeline take the archive where there is one, and all files otherwise; so does this.
What they never look at is looked at here: sizes, and the checksum of an archive.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chromaseal.errors import ChromasealError, Damaged, NotFound, RefusedInput, UsageError
from chromaseal.keys import VAULT, check_collection
from chromaseal.legacy import keys
from chromaseal.legacy.archive import Bounds, unpack
from chromaseal.object_store import ObjectInfo, ObjectStore
from chromaseal.sandbox import Progress, no_progress

ARCHIVE, FILES = "archive", "files"
# Of a hash that says nothing of the content, as that of a directory is made of times.
UNPROVED = "not provable"
SAME, OTHER, NONE = "same", "other", "none"
SNAPSHOT_BOUNDS = Bounds(files=10_000, size_bytes=64 << 30)
DELTA_BOUNDS = Bounds(files=1_000, size_bytes=2 << 30)
_PIECE_BYTES = 8 << 20
_HASH_BYTES = 1 << 10
_POINTER_BYTES = 1 << 10


@dataclass(frozen=True, slots=True)
class Fetched:
    """A snapshot or delta that was brought to this machine.

    Attributes:
        form: ``archive`` or ``files``.
        hash: what its hash says: ``same``, ``other``, ``none``, or ``not provable``.
        files: how many.
        size_bytes: of the objects that were read.
    """

    form: str
    hash: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something is brought to, and how much of it."""

    target: Path
    scratch: Path
    bounds: Bounds
    progress: Progress


class LegacyBucket:
    """A bucket, or a copy of one, in the pipeline's layout.

    Args:
        store: the objects; names may be anything.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._objects = store

    @property
    def url(self) -> str:
        """Say where it is."""
        return self._objects.url

    def collections(self) -> list[str]:
        """Give the collections of which there is a snapshot or a delta; lists the whole bucket."""
        found: set[str] = set()
        for info in self._objects.list(""):
            name = info.key.partition("/")[0]
            delta = keys.delta_of(info.key)
            if keys.snapshot_id_of(info.key) is not None or delta is not None:
                found.add(name)
        return sorted(name for name in found if _is_collection(name))

    def newest(self, collection: str) -> str | None:
        """Give the id of the snapshot that the pointer names; None where there is no pointer.

        Raises:
            Damaged: ``bad-snapshot-id``.
        """
        try:
            body = self._objects.get_range(keys.pointer(collection), start=0, length=_POINTER_BYTES)
        except NotFound:
            return None
        return keys.check_snapshot_id(body.decode(errors="replace").strip())

    def snapshots(self, collection: str) -> list[str]:
        """Give the ids of all snapshots of which there is anything, the newest first."""
        listed = self._objects.list(keys.snapshots(collection))
        found = {keys.snapshot_id_of(info.key) for info in listed}
        return sorted((each for each in found if each), reverse=True)

    def fetch_snapshot(
        self,
        collection: str,
        snapshot_id: str,
        target: Path,
        scratch: Path,
        *,
        progress: Progress = no_progress,
    ) -> Fetched:
        """Bring a snapshot to this machine.

        Args:
            collection: whose.
            snapshot_id: which.
            target: a directory to make.
            scratch: a directory in which files may lie meanwhile.
            progress: called with fetched and all bytes.

        Raises:
            NotFound: ``no-snapshot``.
            Damaged: ``bad-archive``, ``bad-path`` or ``cut-object``.
            RefusedInput: ``unsafe-archive``.
        """
        prefix = keys.snapshot(collection, snapshot_id)
        place = _Place(target, scratch, SNAPSHOT_BOUNDS, progress)
        fetched = self._fetch(prefix, keys.SNAPSHOT_ARCHIVE, place)
        if fetched is None:
            others = ", ".join(self.snapshots(collection)) or "none"
            raise NotFound(
                f"{self.url} has nothing below {prefix}",
                kind="no-snapshot",
                hint=f"name one that is there with --at: {others}",
            )
        return fetched

    def deltas(self, collection: str) -> list[keys.DeltaPlace]:
        """Give where a collection's deltas are, by run."""
        found = {keys.delta_of(info.key) for info in self._objects.list(keys.deltas(collection))}
        return sorted(place for place in found if place is not None)

    def fetch_delta(self, prefix: str, target: Path, scratch: Path) -> Fetched:
        """Bring a delta to this machine; see ``fetch_snapshot``.

        Raises:
            NotFound: ``no-delta``.
            Damaged: ``bad-archive``, ``bad-path`` or ``cut-object``.
            RefusedInput: ``unsafe-archive``.
        """
        place = _Place(target, scratch, DELTA_BOUNDS, no_progress)
        fetched = self._fetch(keys.relative_prefix(prefix, self.url), keys.DELTA_ARCHIVE, place)
        if fetched is None:
            raise NotFound(
                f"{self.url} has nothing below {prefix}",
                kind="no-delta",
                hint="its objects expire after a week: have the receipt embedded again",
            )
        return fetched

    def _fetch(self, prefix: str, archive: str, place: _Place) -> Fetched | None:
        found = {i.key.removeprefix(prefix): i for i in self._objects.list(prefix)}
        if archive in found:
            return self._fetch_archive(prefix, found[archive], place)
        found = {path: info for path, info in found.items() if keys.is_content(path)}
        return self._fetch_files(prefix, found, place) if found else None

    def _fetch_archive(self, prefix: str, info: ObjectInfo, place: _Place) -> Fetched:
        packed = place.scratch / "archive"
        total = info.size_bytes
        md5 = self._download(info, packed, functools.partial(_shown, place.progress, 0, total))
        try:
            files = unpack(packed, place.target, place.bounds)
        except (Damaged, RefusedInput) as error:
            message = f"{info.key}: {error.message}"
            raise type(error)(message, kind=error.kind, hint=error.hint) from error
        packed.unlink()
        stated = self._stated_hash(prefix)
        verdict = NONE if stated is None else SAME if stated == f"md5:{md5}" else OTHER
        return Fetched(ARCHIVE, verdict, len(files), info.size_bytes)

    def _fetch_files(self, prefix: str, found: dict[str, ObjectInfo], place: _Place) -> Fetched:
        total = sum(info.size_bytes for info in found.values())
        if len(found) > place.bounds.files or total > place.bounds.size_bytes:
            raise RefusedInput(
                f"{prefix} has {len(found)} files of {total} bytes, more than it may have",
                kind="unsafe-archive",
                hint="have its writer make it again from a ChromaDB directory and nothing else",
            )
        done = 0
        for path, info in sorted(found.items()):
            if keys.inside(path) != path:
                raise Damaged(f"{info.key} is no place in a directory", kind="bad-path")
            file = place.target / path
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise Damaged(f"{info.key} is below a file", kind="bad-path") from error
            self._download(info, file, functools.partial(_shown, place.progress, done, total))
            done += info.size_bytes
        verdict = NONE if self._stated_hash(prefix) is None else UNPROVED
        return Fetched(FILES, verdict, len(found), total)

    def _stated_hash(self, prefix: str) -> str | None:
        try:
            body = self._objects.get_range(f"{prefix}{keys.HASH}", start=0, length=_HASH_BYTES)
        except NotFound:
            return None
        return body.decode(errors="replace").strip()

    def _download(self, info: ObjectInfo, path: Path, told: Callable[[int], None]) -> str:
        """Read an object into a file, a piece at a time; give the MD5 of it."""
        md5 = hashlib.md5(usedforsecurity=False)
        done = 0
        with path.open("xb") as file:
            for piece in self._pieces(info):
                file.write(piece)
                md5.update(piece)
                done += len(piece)
                told(done)
        if done != info.size_bytes:
            raise Damaged(
                f"{info.key} gave {done} bytes of {info.size_bytes}",
                kind="cut-object",
                hint="run the same command again",
            )
        return md5.hexdigest()

    def _pieces(self, info: ObjectInfo) -> Iterator[bytes]:
        for start in range(0, info.size_bytes, _PIECE_BYTES):
            length = min(_PIECE_BYTES, info.size_bytes - start)
            yield self._objects.get_range(info.key, start=start, length=length)


def refuse_vault(store: ObjectStore) -> None:
    """Refuse a vault: its pointers have the pipeline's keys, and mean something else.

    Raises:
        UsageError: ``is-a-vault``.
    """
    if store.head(VAULT) is not None:
        raise UsageError(
            f"{store.url} is a vault of chromaseal, not a bucket in the old layout",
            kind="is-a-vault",
            hint="name the bucket of the existing pipeline; versions of a vault are brought "
            "elsewhere by chromaseal pull and push",
        )


def _shown(progress: Progress, before: int, total: int, more: int) -> None:
    progress(before + more, total)


def _is_collection(name: str) -> bool:
    try:
        check_collection(name)
    except ChromasealError:
        return False
    return True
