"""Uploads that stop half-way: files one by one with a pointer, and layers with a pointer.

The old upload is stopped after each number of its files, chromaseal's after each number of its
writes into the store. Then somebody fetches what the pointer names.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from chromaseal.metering import CountingStore
from chromaseal.object_store import ObjectStore
from chromaseal.replication.push import push
from chromaseal.reproduction.examination import Examination
from chromaseal.reproduction.old_ways import copy_file, copy_files, walked_files
from chromaseal.reproduction.trial import Trial, Way
from chromaseal.vault import Vault

UPLOADS = "uploads"
_POINTER = "pointer"


class Stopped(BaseException):
    """The process would be gone here."""


class StoppingStore(CountingStore):
    """Takes a number of writes; the next one never comes.

    Args:
        inner: where the objects are.
        writes: how many to take.
    """

    def __init__(self, inner: ObjectStore, writes: int) -> None:
        super().__init__(inner)
        self._writes = writes

    def create(self, key: str, body: bytes | memoryview) -> None:
        """Store an object where none is."""
        self._stop()
        super().create(key, body)

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object that still carries ``etag``."""
        self._stop()
        super().replace(key, body, etag=etag)

    def _stop(self) -> None:
        if self.usage.create + self.usage.replace >= self._writes:
            raise Stopped


def half_uploads(
    vault: Vault,
    examination: Examination,
    versions: tuple[Path, Path],
    folder: Path,
    *,
    progress: Callable[[int, int], None],
) -> Iterator[Trial]:
    """Publish a second version after a first, and stop on the way.

    Args:
        vault: where the second version is pushed to.
        examination: looks at what a reader gets.
        versions: two sound directories of one application, the older one first.
        folder: what the old way takes for its object store.
        progress: called with done and all trials.

    Yields:
        A trial per way and place of stopping.
    """
    older, newer = versions
    files = list(walked_files(newer))
    total = 2 * (len(files) - 1)
    copy_files(older, folder / "older")
    for pointer_first in (True, False):
        way = Way.HALF_UPLOAD_POINTER_FIRST if pointer_first else Way.HALF_UPLOAD_POINTER_LAST
        for stop in range(1, len(files)):
            progress(stop + (0 if pointer_first else total // 2), total)
            (folder / _POINTER).write_text("newer" if pointer_first else "older")
            for path in files[:stop]:
                copy_file(newer / path, folder / "newer" / path)
            fetched = folder / "fetched"
            copy_files(folder / (folder / _POINTER).read_text(), fetched)
            yield examination.look(fetched).trial(way, stop)
            shutil.rmtree(fetched)
            shutil.rmtree(folder / "newer")
    yield from _pushes(vault, examination, versions, folder)


def _pushes(
    vault: Vault, examination: Examination, versions: tuple[Path, Path], folder: Path
) -> Iterator[Trial]:
    older, newer = versions
    vault.push(older, UPLOADS)
    stopped, writes = True, 0
    while stopped:
        parts = replace(vault.parts, store=StoppingStore(vault.parts.store, writes))
        try:
            push(parts, newer, UPLOADS, replace=True)
            stopped = False
        except Stopped:
            writes += 1
        fetched = folder / "fetched"
        vault.pull(UPLOADS, fetched)
        if stopped:
            yield examination.look(fetched).trial(Way.HALF_PUSH, writes)
        shutil.rmtree(fetched)
