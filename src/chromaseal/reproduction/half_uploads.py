"""Uploads that stop half-way: files one by one with a pointer, and layers with a pointer.

The old upload is stopped after every other of its files, chromaseal's after each of its writes into
the store. Then somebody fetches what the pointer names.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from chromaseal.metering import CountingStore
from chromaseal.object_store import ObjectStore
from chromaseal.replication.push import push
from chromaseal.reproduction.examination import Examination, Examined
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
    keep: Path | None = None,
    progress: Callable[[int, int], None],
) -> Iterator[Trial]:
    """Publish a second version after a first, and stop on the way.

    Args:
        vault: where the second version is pushed to.
        examination: looks at what a reader gets.
        versions: two sound directories of one application, the older one first.
        folder: what the old way takes for its object store.
        keep: where bad copies stay.
        progress: called with done and all trials.

    Yields:
        A trial per way and place of stopping.
    """
    old = _OldUploads(*versions, folder)
    ways = (Way.HALF_UPLOAD_POINTER_FIRST, Way.HALF_UPLOAD_POINTER_LAST)
    for done, way in enumerate(ways):
        progress(done, len(ways) + 1)
        yield from _trials(way, examination.look_at_all(list(old.fetched(way)), keep=keep))
    progress(len(ways), len(ways) + 1)
    fetched = list(_pushed(vault, *versions, folder))
    yield from _trials(Way.HALF_PUSH, examination.look_at_all(fetched, keep=keep))


def _trials(way: Way, examined: list[Examined]) -> Iterator[Trial]:
    return (each.trial(way, number) for number, each in enumerate(examined, 1))


class _OldUploads:
    """A folder as the old object store: versions as folders of files, and a pointer.

    Args:
        older: the version that is there already.
        newer: the one that is uploaded.
        folder: the folder.
    """

    def __init__(self, older: Path, newer: Path, folder: Path) -> None:
        self._newer = newer
        self._folder = folder
        copy_files(older, folder / "older")

    def fetched(self, way: Way) -> Iterator[Path]:
        """Stop after every other file, and fetch what the pointer names then."""
        files = list(walked_files(self._newer))
        pointer_first = way is Way.HALF_UPLOAD_POINTER_FIRST
        for number, stop in enumerate(range(1, len(files), 2), 1):
            (self._folder / _POINTER).write_text("newer" if pointer_first else "older")
            for path in files[:stop]:
                copy_file(self._newer / path, self._folder / "newer" / path)
            fetched = self._folder / f"{way}-{number:02d}"
            copy_files(self._folder / (self._folder / _POINTER).read_text(), fetched)
            shutil.rmtree(self._folder / "newer")
            yield fetched


def _pushed(vault: Vault, older: Path, newer: Path, folder: Path) -> Iterator[Path]:
    """Stop after every number of writes into the store, and pull what the pointer names then."""
    vault.push(older, UPLOADS)
    for writes in itertools.count():
        parts = replace(vault.parts, store=StoppingStore(vault.parts.store, writes))
        try:
            push(parts, newer, UPLOADS, replace=True)
        except Stopped:
            fetched = folder / f"{Way.HALF_PUSH}-{writes + 1:02d}"
            vault.pull(UPLOADS, fetched)
            yield fetched
        else:
            return
