"""A version -> a directory: fetched in parallel, every page checked, whole by rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chromaseal import keys
from chromaseal.digests import file_digest_hex, file_page_digests
from chromaseal.errors import Conflict, Damaged, NotFound
from chromaseal.ids import Ids
from chromaseal.object_store import ObjectStore
from chromaseal.sandbox import Progress, no_progress
from chromaseal.snapshot.layer import Chunk, read_chunk, read_index
from chromaseal.snapshot.manifest import LayerEntry, Manifest, Version

_FETCHES_AT_ONCE = 8
_RANGE_BYTES = 8 << 20


def checkout(
    store: ObjectStore,
    version: Version,
    target: Path,
    *,
    ids: Ids,
    durable: bool = False,
    progress: Progress | None = None,
) -> None:
    """Make a directory of a version.

    The directory appears whole, by rename, or not at all.

    Args:
        store: the vault's objects.
        version: what to fetch.
        target: where; must not exist or be an empty directory.
        ids: for the name of the unfinished directory beside it.
        durable: whether it is to survive a power cut.
        progress: called with fetched and all bytes.

    Raises:
        Conflict: ``directory-not-empty``.
        Damaged: ``bad-layer``, ``bad-file`` or ``missing-object``; nothing is left behind.
        Unavailable: the store did not answer; nothing is left behind.
    """
    with appearing_whole(target, ids, durable=durable) as unfinished:
        _fill(store, version.manifest, unfinished, progress or no_progress)
        check_files(version.manifest, unfinished)


@contextmanager
def appearing_whole(target: Path, ids: Ids, *, durable: bool) -> Iterator[Path]:
    """Give the name of a directory to make, which becomes ``target`` when the block ends well.

    Args:
        target: must not exist or be an empty directory.
        ids: for the name of the unfinished directory beside it.
        durable: whether it is to survive a power cut.

    Raises:
        Conflict: ``directory-not-empty`` or ``cannot-write``; nothing is left behind.
    """
    refuse_occupied(target)
    unfinished = target.parent / f".{target.name}.{ids.unique()[:12]}.unfinished"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        if durable:
            _sync_tree(unfinished)
        unfinished.replace(target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def refuse_occupied(target: Path) -> None:
    """Refuse a directory that has something in it.

    Raises:
        Conflict: ``directory-not-empty``.
    """
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise Conflict(
            f"{target} is there and not empty",
            kind="directory-not-empty",
            hint="name a directory that does not exist yet",
        )


def check_files(manifest: Manifest, directory: Path) -> None:
    """Check that a directory has the files of a manifest and no other.

    Raises:
        Damaged: ``bad-file``, with its name.
    """
    entries = {entry.path for entry in manifest.files}
    for path in directory.rglob("*"):
        listed = path.relative_to(directory).as_posix() in entries
        if path.is_symlink() or not (listed or path.is_dir()):
            raise Damaged(f"{path} is not of the version", kind="bad-file")
    for entry in manifest.files:
        path = directory / entry.path
        size_bytes = path.stat().st_size if path.is_file() else -1
        if size_bytes != entry.size_bytes or (
            file_digest_hex(file_page_digests(path)) != entry.digest
        ):
            raise Damaged(
                f"{entry.path} in {directory} is not what version {manifest.number} of "
                f"{manifest.collection} says",
                kind="bad-file",
            )


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of an unfinished directory, of their final size from the start."""

    directory: Path
    sizes_bytes: dict[str, int]

    def write(self, chunk: Chunk, pages: bytes) -> None:
        size_bytes = self.sizes_bytes.get(chunk.path, 0)
        if chunk.file_offset + len(pages) > size_bytes:
            raise Damaged(f"a layer has pages that {chunk.path} does not have", kind="bad-layer")
        with (self.directory / chunk.path).open("r+b") as file:
            file.seek(chunk.file_offset)
            file.write(pages)


def _fill(store: ObjectStore, manifest: Manifest, directory: Path, progress: Progress) -> None:
    directory.mkdir()
    sizes = {file.path: file.size_bytes for file in manifest.files}
    for path, size_bytes in sizes.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        with (directory / path).open("xb") as file:
            file.truncate(size_bytes)
    done, total = 0, sum(layer.size_bytes for layer in manifest.layers)
    with ThreadPoolExecutor(_FETCHES_AT_ONCE) as pool:
        try:
            for layer in manifest.layers:
                key = keys.layer(manifest.collection, layer.layer_id)
                for fetched in _fetch_layer(store, key, layer, _Files(directory, sizes), pool):
                    done += fetched.result()
                    progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch_layer(
    store: ObjectStore, key: str, layer: LayerEntry, files: _Files, pool: ThreadPoolExecutor
) -> Iterator[Future[int]]:
    def fetch(chunks: list[Chunk]) -> int:
        start = chunks[0].offset
        length = chunks[-1].offset + chunks[-1].frame_size_bytes - start
        body = memoryview(_range(store, key, start, length))
        for chunk in chunks:
            begin = chunk.offset - start
            frame = body[begin : begin + chunk.frame_size_bytes]
            files.write(chunk, read_chunk(layer, chunk, frame))
        return length

    index = _range(store, key, layer.index_offset, layer.index_size_bytes)
    return iter([pool.submit(fetch, group) for group in _ranges(read_index(layer, index))])


def _ranges(chunks: list[Chunk]) -> Iterator[list[Chunk]]:
    """Group neighbouring chunks into ranges worth a request."""
    group: list[Chunk] = []
    for chunk in chunks:
        if group and chunk.offset + chunk.frame_size_bytes - group[0].offset > _RANGE_BYTES:
            yield group
            group = []
        group.append(chunk)
    if group:
        yield group


def _range(store: ObjectStore, key: str, start: int, length: int) -> bytes:
    try:
        body = store.get_range(key, start=start, length=length)
    except NotFound:
        raise Damaged(
            f"{key} is missing",
            kind="missing-object",
            hint="read the version before it, or bring the object back from a backup",
        ) from None
    if len(body) != length:
        raise Damaged(f"{key} is shorter than its manifest says", kind="bad-layer")
    return body


def _sync_tree(directory: Path) -> None:
    for path in (*directory.rglob("*"), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _cannot_write(target: Path, error: OSError) -> Conflict:
    return Conflict(
        f"{target} cannot be written: {error}",
        kind="cannot-write",
        hint="check free space and permissions; nothing was left behind",
    )
