"""Verified directories kept on this machine, and private copies of them to work in.

::

    <root>/<vault id>/<collection>/<version id>/   a version as published; never opened
    <root>/work/<unique>/                          a private copy; <unique>.lock says it is used

Opening ChromaDB is a write, so nobody opens what is kept: merging and reading happen in copies.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from chromaseal.errors import Damaged
from chromaseal.ids import Ids
from chromaseal.object_store import ObjectStore
from chromaseal.sandbox import Progress
from chromaseal.snapshot.checkout import appearing_whole, check_files, checkout
from chromaseal.snapshot.manifest import Version

_KEPT_VERSIONS = 2


class Checkouts:
    """The verified directories of one vault on this machine.

    Args:
        store: the vault's objects.
        root: where they are kept; any number of processes may share it.
        vault_id: which vault.
        ids: for the names of private copies.
    """

    def __init__(self, store: ObjectStore, root: Path, vault_id: str, *, ids: Ids) -> None:
        self._store = store
        self._kept = root / vault_id
        self._work = root / "work"
        self._ids = ids

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give an empty directory that goes when the caller is done, or has died."""
        self._work.mkdir(parents=True, exist_ok=True)
        self._sweep()
        with contextlib.ExitStack() as held:
            lock = self._locked(held)
            directory = lock.with_suffix("")
            directory.mkdir()
            try:
                yield directory
            finally:
                shutil.rmtree(directory, ignore_errors=True)
                lock.unlink(missing_ok=True)

    def _locked(self, held: contextlib.ExitStack) -> Path:
        """Lock a name of our own; a sweep may have taken it between making and locking."""
        while True:
            lock = self._work / f"{self._ids.unique()}.lock"
            file = held.enter_context(lock.open("wb"))
            fcntl.flock(file, fcntl.LOCK_EX)
            if lock.exists():
                return lock

    def copy(
        self,
        version: Version,
        target: Path,
        *,
        durable: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Make a private copy of a version, from what is kept here if that is sound.

        What is not kept yet is fetched and kept first.

        Args:
            version: which one.
            target: where; must not exist or be an empty directory.
            durable: whether the copy is to survive a power cut.
            progress: called with fetched and all bytes.

        Raises:
            Damaged: the version itself cannot be fetched whole.
        """
        kept = self._directory(version)
        if not kept.is_dir():
            with self.workspace() as workspace:
                fetched = workspace / "fetched"
                checkout(self._store, version, fetched, ids=self._ids, progress=progress)
                self.keep(version, fetched)
        if kept.is_dir() and self._copy_kept(version, kept, target, durable=durable):
            return
        checkout(self._store, version, target, ids=self._ids, durable=durable, progress=progress)

    def keep(self, version: Version, directory: Path) -> None:
        """Take over a directory that is exactly a version; older ones go."""
        kept = self._directory(version)
        # The version is in the vault: whatever goes wrong with the copy is not worth an error.
        with contextlib.suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            directory.rename(kept)
            for old in sorted(kept.parent.iterdir())[:-_KEPT_VERSIONS]:
                if old != kept:
                    self._discard(old)

    def _copy_kept(self, version: Version, kept: Path, target: Path, *, durable: bool) -> bool:
        try:
            with appearing_whole(target, self._ids, durable=durable) as unfinished:
                _copy_tree(kept, unfinished)
                check_files(version.manifest, unfinished)
        except Damaged:
            # Kept copies are a convenience: a bad or vanishing one is fetched anew.
            self._discard(kept)
            return False
        return True

    def _directory(self, version: Version) -> Path:
        return self._kept / version.manifest.collection / version.version_id

    def _discard(self, directory: Path) -> None:
        # Under another name first, so that nobody finds half a directory under the old one.
        doomed = self._work / f"{self._ids.unique()}.discarded"
        with contextlib.suppress(OSError):
            directory.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def _sweep(self) -> None:
        for lock in self._work.glob("*.lock"):
            with contextlib.suppress(OSError), lock.open("r+b") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        for doomed in self._work.glob("*.discarded"):
            shutil.rmtree(doomed, ignore_errors=True)


def _copy_tree(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, symlinks=True)
    except OSError as error:
        raise Damaged(f"{source} cannot be copied: {error}", kind="bad-file") from error
