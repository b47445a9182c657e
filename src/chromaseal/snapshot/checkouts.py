"""Verified directories kept on this machine, and private copies of them to work in.

::

    <root>/<vault id>/<collection>/<version id>/   a version as published; see ``kept``
    <root>/work/<unique>/                          a private copy; <unique>.lock says it is used
    <root>/promises/                               what of the disk is promised; see ``promises``

Opening ChromaDB is a write, so nobody opens what is kept: merging and reading happen in copies.
Versions that are kept share the files in which they do not differ.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from chromaseal.clock import Clock
from chromaseal.errors import ChromasealError, Conflict, Damaged
from chromaseal.ids import Ids
from chromaseal.object_store import ObjectStore
from chromaseal.sandbox import Progress, no_progress
from chromaseal.seal.page_table import Known, PageTable, Tables
from chromaseal.seal.sealed import Sealed
from chromaseal.snapshot.checkout import appearing_whole, cannot_write, check_files
from chromaseal.snapshot.history import line, load, load_all
from chromaseal.snapshot.kept import Kept, directory_in, read_kept, stamps_of, write_kept
from chromaseal.snapshot.layer_objects import LayerReader, touched_pages
from chromaseal.snapshot.manifest import LayerEntry, Version
from chromaseal.snapshot.patch import fill_kept, share_kept
from chromaseal.snapshot.promises import Promises
from chromaseal.snapshot.removal import removed_if_announced
from chromaseal.snapshot.restore import restore
from chromaseal.snapshot.version_id import VersionId, parse
from chromaseal.telemetry.emit import event, step
from chromaseal.telemetry.observer import Severity

_KEPT_VERSIONS = 2
_ATTEMPTS = 5
_STEPS_AT_ONCE = 8
# What a request is worth: as much as a line carries until it is answered.
_REQUEST_BYTES = 256 << 10


class Checkouts:
    """The verified directories of one vault on this machine.

    Args:
        store: the vault's objects.
        root: where they are kept; any number of processes may share it.
        vault_id: which vault.
        clock: when stamps are taken.
        ids: for the names of private copies.
        boot_id: which boot of the machine this is.
    """

    def __init__(
        self,
        store: ObjectStore,
        root: Path,
        vault_id: str,
        *,
        clock: Clock,
        ids: Ids,
        boot_id: str = "",
    ) -> None:
        self.vault_id = vault_id
        self.boot_id = boot_id
        self.promises = Promises(root / "promises", clock)
        self._store = store
        self._kept = root / vault_id
        self._work = root / "work"
        self._clock = clock
        self._ids = ids

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give an empty directory that goes when the caller is done, or has died.

        Raises:
            Conflict: ``cannot-write``.
        """
        with contextlib.ExitStack() as held:
            try:
                self._work.mkdir(parents=True, exist_ok=True)
                self._sweep()
                lock = self._locked(held)
                directory = lock.with_suffix("")
                directory.mkdir()
            except OSError as error:
                raise cannot_write(self._work, error) from error
            try:
                yield directory
            finally:
                shutil.rmtree(directory, ignore_errors=True)
                lock.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Tell what the disk has left on which everything is, or would be made."""
        there = next(each for each in (self._work, *self._work.parents) if each.exists())
        return shutil.disk_usage(there).free

    def _locked(self, held: contextlib.ExitStack) -> Path:
        """Lock a name of our own; a sweep may have taken it between making and locking."""
        while True:
            lock = self._work / f"{self._ids.unique()}.lock"
            file = held.enter_context(lock.open("wb"))
            fcntl.flock(file, fcntl.LOCK_EX)
            if lock.exists():
                return lock

    def bring(self, version: Version, *, progress: Progress = no_progress) -> Kept:
        """Have a version's directory on this machine.

        What is kept of an older version is taken along where the steps from there weigh less
        than the whole.

        Args:
            version: which one.
            progress: called with fetched and all bytes.

        Raises:
            Damaged: the version cannot be fetched whole.
            NotFound: ``removed-version``, garbage collection has just taken it.
            Unavailable: the store did not answer.
        """
        collection, version_id = version.manifest.collection, version.version_id
        kept = self.kept(version)
        for _ in range(_ATTEMPTS):
            if kept is not None:
                return kept
            with removed_if_announced(self._store, collection, version_id):
                if not self._bring_by_steps(version, progress):
                    with self._building(version) as folder:
                        tables = self._restore(version, directory_in(folder), progress)
                        write_kept(folder, tables, self.boot_id)
            # Other processes keep newer versions and throw this one away.
            kept = self.kept(version)
        raise cannot_write(self._folder(version), OSError("others remove it while it is made"))

    def forget(self, version: Version) -> None:
        """Throw away what is kept of a version; it is fetched again when it is needed."""
        self._discard(self._folder(version))

    def kept(self, version: Version) -> Kept | None:
        """Give what is kept of a version; a copy that was touched is thrown away."""
        folder = self._folder(version)
        kept = read_kept(folder, version, self.boot_id)
        if kept is None and folder.exists():
            event("copy rotten", Severity.WARNING, version_id=version.version_id)
            self._discard(folder)
        return kept

    def copy(
        self,
        version: Version,
        target: Path,
        *,
        durable: bool = False,
        progress: Progress = no_progress,
    ) -> Kept:
        """Make a private copy of a version, with every page checked once more.

        Args:
            version: which one.
            target: where; must not exist or be an empty directory.
            durable: whether the copy is to survive a power cut.
            progress: called with fetched and all bytes.

        Returns:
            What it was copied from.

        Raises:
            Damaged: the version itself cannot be fetched whole.
        """
        kept = self.bring(version, progress=progress)
        try:
            self._copy_checked(kept, target, durable=durable)
        except Damaged:
            # Kept copies are a convenience: a bad or vanishing one is fetched anew.
            self._discard(self._folder(version))
            kept = self.bring(version, progress=progress)
            self._copy_checked(kept, target, durable=durable)
        return kept

    def fetch_fresh(
        self, version: Version, target: Path, *, progress: Progress = no_progress
    ) -> None:
        """Fetch a version's directory whole, whatever is kept of it on this machine.

        Args:
            version: which one.
            target: a directory to make.
            progress: called with fetched and all bytes.

        Raises:
            Damaged: an object is missing, or is not what its digest says; nothing is left.
        """
        target.mkdir()
        try:
            self._restore(version, target, progress)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise

    def copy_kept(self, kept: Kept, target: Path) -> None:
        """Copy what is kept of a version, with every page checked, and nothing else asked.

        Raises:
            Damaged: it is not what the version's manifest says.
        """
        self._copy_checked(kept, target, durable=False)

    def working_copy(self, kept: Kept, target: Path) -> Known:
        """Copy a kept version to merge into, and tell what is known of the copy.

        Pages are not checked here: what is published is checked against the tables.
        """
        kept.copy_files(target)
        kept.begin_check()
        now_ns = int(self._clock.now().timestamp() * 1e9)
        return kept.known(stamps_of(target, kept.tables), now_ns)

    def keep(self, version: Version, sealed: Sealed) -> None:
        """Take over a directory that is exactly a version; older ones go."""
        # The version is in the vault: whatever goes wrong with the copy is not worth an error.
        with contextlib.suppress(OSError, ChromasealError), self._building(version) as folder:
            sealed.directory.rename(directory_in(folder))
            write_kept(folder, sealed.tables, self.boot_id)

    def keep_copy(self, version: Version, sealed: Sealed, older: Kept | None) -> None:
        """Keep a copy of somebody's directory, which is exactly a version; older ones go."""
        with contextlib.suppress(OSError, ChromasealError), self._building(version) as folder:
            stale = fill_kept(sealed, folder, older)
            write_kept(folder, sealed.tables, self.boot_id, stale=stale)

    def folder(self, collection: str) -> Path:
        """Give where what this machine knows of a collection is kept."""
        return self._kept / collection

    def _copy_checked(self, kept: Kept, target: Path, *, durable: bool) -> None:
        with appearing_whole(target, self._ids, durable=durable) as unfinished:
            unfinished.mkdir()  # what fails here is the caller's place, not what is kept
            kept.copy_files(unfinished)
            check_files(kept.version.manifest, unfinished)

    def _bring_by_steps(self, version: Version, progress: Progress) -> bool:
        try:
            older, steps = self._way_to(version)
            if older is None:
                return False
            with (
                step(
                    "fetch layers",
                    collection=version.manifest.collection,
                    version_id=version.version_id,
                    layers=len(steps),
                ),
                self._building(version) as folder,
            ):
                self._step(older, version, steps, folder, progress)
        except (Damaged, Conflict):
            # Steps are a convenience too, and another process may have taken the older copy.
            return False
        return True

    def _restore(
        self, version: Version, directory: Path, progress: Progress
    ) -> dict[str, PageTable]:
        manifest = version.manifest
        with (
            step("fetch layers", collection=manifest.collection, version_id=version.version_id),
            LayerReader(self._store, manifest.collection) as reader,
        ):
            return restore(
                reader,
                manifest.files,
                reader.open(manifest.layers),
                directory,
                before={},
                progress=progress,
            )

    def _step(
        self,
        older: Kept,
        version: Version,
        steps: Sequence[LayerEntry],
        folder: Path,
        progress: Progress,
    ) -> None:
        files = version.manifest.files
        before: Tables = {e.path: older.tables[e.path] for e in files if e.path in older.tables}
        with LayerReader(self._store, version.manifest.collection) as reader:
            layers = reader.open(steps)
            apart = share_kept(older, files, touched_pages(layers), folder)
            tables = restore(
                reader,
                files,
                layers,
                directory_in(folder),
                before=before,
                progress=progress,
                apart=apart,
            )
        stale = {path: each.pages for path, each in apart.items()}
        write_kept(folder, tables, self.boot_id, stale=stale)

    def _way_to(self, version: Version) -> tuple[Kept | None, list[LayerEntry]]:
        """Find a kept version from which the steps to another one weigh less than the whole."""
        collection, number = version.manifest.collection, version.manifest.number
        older_ids = [found for found in self._kept_ids(collection) if found.number < number]
        if not older_ids:
            return None, []
        past = [each.version_id for each in line(self._store, version)]
        for found in reversed(older_ids):
            if past[found.number - 1] == str(found):
                steps = self._light_steps(version, past[found.number : -1])
                if steps is None:
                    return None, []
                return self.kept(load(self._store, collection, str(found))), steps
        return None, []

    def _light_steps(self, newest: Version, between: Sequence[str]) -> list[LayerEntry] | None:
        """Give the steps to a version; None where they weigh more than the whole."""
        budget_bytes = _weight(newest.manifest.layers)
        steps: list[LayerEntry] = []
        for version in self._newest_first(newest, between):
            step = version.manifest.step
            if step is None:
                return None
            # Its manifest had to be read, too.
            budget_bytes -= _weight([step]) + _REQUEST_BYTES
            if budget_bytes < 0:
                return None
            steps.append(step)
        return steps[::-1]

    def _newest_first(self, newest: Version, between: Sequence[str]) -> Iterator[Version]:
        yield newest
        for end in range(len(between), 0, -_STEPS_AT_ONCE):
            batch = between[max(end - _STEPS_AT_ONCE, 0) : end]
            yield from reversed(load_all(self._store, newest.manifest.collection, batch))

    def _kept_ids(self, collection: str) -> list[VersionId]:
        found: list[VersionId] = []
        with contextlib.suppress(FileNotFoundError):
            for folder in (self._kept / collection).iterdir():
                with contextlib.suppress(Damaged):
                    found.append(parse(folder.name))
        return sorted(found, key=str)

    @contextlib.contextmanager
    def _building(self, version: Version) -> Iterator[Path]:
        """Give a folder to fill, which becomes what is kept of a version; older ones go."""
        place = self._folder(version)
        with self.workspace() as workspace:
            folder = workspace / "kept"
            directory_in(folder).parent.mkdir()
            directory_in(folder).mkdir(exist_ok=True)
            try:
                yield folder
                place.parent.mkdir(parents=True, exist_ok=True)
                # Another process may have been first; what it put there is as good.
                with contextlib.suppress(OSError):
                    folder.rename(place)
            except OSError as error:
                raise cannot_write(place, error) from error
        for old in self._kept_ids(version.manifest.collection)[:-_KEPT_VERSIONS]:
            if str(old) != version.version_id:
                self._discard(place.parent / str(old))

    def _folder(self, version: Version) -> Path:
        return self._kept / version.manifest.collection / version.version_id

    def _discard(self, directory: Path) -> None:
        # Under another name first, so that nobody finds half a directory under the old one.
        self._work.mkdir(parents=True, exist_ok=True)
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


def _weight(layers: Iterable[LayerEntry]) -> int:
    parts = [part for layer in layers for part in layer.parts]
    # Each takes a request for where its pages are, and one for them.
    return sum(part.size_bytes + 2 * _REQUEST_BYTES for part in parts)
