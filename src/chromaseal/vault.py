"""What a caller holds: write runs, compact them into versions, read, trace, open copies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from chromaseal import pools
from chromaseal.cancelling import Cancelled, cancel, put_back
from chromaseal.compaction.compactor import Compactor
from chromaseal.compaction.outcome import Compaction
from chromaseal.compaction.portion import ALL, Portion
from chromaseal.compaction.working_copies import FreshCopies, WorkingCopies
from chromaseal.delta.model import Changes
from chromaseal.embedding import ModelPin
from chromaseal.parts import Parts
from chromaseal.pin import refuse_lost_pin
from chromaseal.reader import Reader
from chromaseal.replication.difference import Difference, difference
from chromaseal.replication.follow import Moved, follow
from chromaseal.replication.pull import Pulled, pull
from chromaseal.replication.push import Pushed, push
from chromaseal.replication.replicate import Replicated, replicate
from chromaseal.replication.rollback import rollback
from chromaseal.run.model import RunState
from chromaseal.sandbox import Progress, StepProgress, no_progress, no_step_progress
from chromaseal.snapshot.checkout import absolute, refuse_occupied
from chromaseal.snapshot.fallback import Told, newest_readable, tell_nobody
from chromaseal.snapshot.find import VersionName, find
from chromaseal.snapshot.history import pointer
from chromaseal.snapshot.log import LogEntry, log_entries
from chromaseal.snapshot.manifest import Version
from chromaseal.snapshot.tags import delete_tag, read_tags, write_tag
from chromaseal.telemetry.emit import carried, step
from chromaseal.trace import TraceStep, trace_run
from chromaseal.upkeep import Upkeep
from chromaseal.writing import Writing, Written

_AT_ONCE = 2
_ALL = 1_000_000
CollectionProgress = Callable[[str, str, int, int], None]
OpenReader = Callable[[Version, Path, ExitStack], Reader]


class Vault(Upkeep):
    """Collections of records in an object store. Use as a context manager.

    ``chromaseal.open`` makes one with everything that it needs.

    Args:
        parts: store, ledger and the rest.
        open_reader: makes a reader of a version and a private copy.
        close: gives back what the parts hold.
        copies: where versions are made; fresh ones by default.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        open_reader: OpenReader,
        close: Callable[[], None],
        copies: WorkingCopies | None = None,
    ) -> None:
        super().__init__(parts)
        self._copies = copies
        self._open_reader = open_reader
        self._close = close

    @property
    def url(self) -> str:
        """Say where the vault is."""
        return self.parts.store.url

    def warm_up(self) -> None:
        """Begin what compacting will need, so that it need not wait for it."""
        self.parts.sandbox.start()

    def write(
        self,
        changes: Mapping[str, Changes],
        *,
        model: ModelPin | None = None,
        run_id: str = "",
        attributes: Mapping[str, str] | None = None,
        space: str = "",
        stored_wins: bool = False,
    ) -> Written:
        """Store one run: a delta per collection, then the run in the ledger.

        When this returns, the run is durable and will be in a version; repeating it with the
        same ``run_id`` changes nothing, also after a crash in the middle.

        Args:
            changes: by collection.
            model: the model that made the vectors; pinned by the first write of a
                collection, compared by every other.
            run_id: a name for the run that the caller can repeat; made up when empty.
            attributes: what is to be remembered of the run.
            space: ``l2``, ``cosine`` or ``ip``; empty for the collection's own, which is l2
                where this write begins it.
            stored_wins: what to do where an attempt that died stored another delta for the
                same run: keep that one, or refuse.

        Raises:
            RefusedInput: the changes cannot be stored; nothing was.
            Conflict: ``other-model``, ``other-dimension``, ``other-space``,
                ``different-content``: the run id is taken by other changes, or
                ``run-cancelled``: the run was taken off the list.
            Unavailable: the store or the ledger did not answer; repeat with the same id.
        """
        with step("write run") as told:
            written = Writing(self.parts).write(
                changes,
                model=model,
                run_id=run_id,
                attributes=attributes or {},
                space=space,
                stored_wins=stored_wins,
            )
            told.note(run_id=written.run.run_id)
        return written

    def compact(
        self,
        collections: Sequence[str] = (),
        *,
        portions: Mapping[str, Portion] | None = None,
        progress: CollectionProgress | None = None,
    ) -> list[Compaction]:
        """Fold the waiting runs of collections, or ``portions`` of these, into versions.

        Raises:
            ChromasealError: see ``Compactor.compact``; the other collections are done
                nevertheless.
        """
        names = list(collections) or self._compactable()
        compactor = Compactor(self.parts, self._copies or FreshCopies(self.parts))

        def compact(name: str) -> Compaction:
            told = functools.partial(progress, name) if progress else None
            portion = (portions or {}).get(name, ALL)
            with step("compact", collection=name):
                refuse_lost_pin(self.parts.store, name)
                return compactor.compact(name, portion=portion, progress=told)

        # Collections have nothing to do with each other, and each merge is one thread's work.
        with pools.pool(_AT_ONCE) as pool:
            try:
                return list(pool.map(carried(compact), names))
            except KeyboardInterrupt:
                # The children would work on to an end that nobody waits for.
                self.parts.sandbox.close()
                raise

    def _compactable(self) -> list[str]:
        """Give every collection, those included whose pin is lost and whose runs wait."""
        waiting = self.parts.ledger.newest(state=RunState.PENDING, limit=_ALL)
        parts = ((name, part.state) for run in waiting for name, part in run.parts.items())
        pending = {name for name, state in parts if state is RunState.PENDING}
        return sorted(pending | set(self.collections()))

    def version(self, collection: str, at: VersionName = "") -> Version:
        """Give one version: by number, id, tag or time; the newest by default.

        Raises:
            NotFound: ``no-version`` or ``removed-version``.
        """
        return find(self.parts.store, collection, at, clock=self.parts.clock)

    def has_version(self, collection: str) -> bool:
        """Whether a collection has a version at all, readable or not."""
        return pointer(self.parts.store, collection)[0] is not None

    def log(self, collection: str) -> Iterator[LogEntry]:
        """Give a collection's versions, the newest first; those that were removed too."""
        self._known(collection)
        return log_entries(self.parts.store, collection)

    def reader(
        self,
        collection: str,
        *,
        at: VersionName = "",
        told: Told = tell_nobody,
        progress: Progress = no_progress,
    ) -> Reader:
        """Open a private, verified copy of a version; close it when done.

        Where no version is named and the newest cannot be fetched whole, the newest one that can
        is opened.

        Args:
            collection: whose version.
            at: a number, an id, a tag or a time; the newest by default.
            told: called for each version that is passed over, with its id and the reason.
            progress: called with fetched and all bytes.

        Raises:
            NotFound: ``no-version``.
            Damaged: the version cannot be fetched whole.
        """
        with ExitStack() as held:
            workspace = held.enter_context(self.parts.checkouts.workspace())
            directory = workspace / "directory"
            version = self._copy(collection, directory, at, told, progress, durable=False)
            return self._open_reader(version, directory, held.pop_all())

    def open_copy(
        self,
        collection: str,
        directory: Path,
        *,
        at: VersionName = "",
        told: Told = tell_nobody,
        progress: Progress = no_progress,
    ) -> Version:
        """Make a verified copy of a version that any ChromaDB client may open and change.

        Where no version is named and the newest cannot be fetched whole, the newest one that can
        is copied; see ``reader`` for the arguments.

        Raises:
            Conflict: ``directory-not-empty``.
            NotFound: ``no-version``.
            Damaged: the version cannot be fetched whole; nothing is left behind.
        """
        directory = absolute(directory)
        refuse_occupied(directory)
        return self._copy(collection, directory, at, told, progress, durable=True)

    def _copy(
        self,
        collection: str,
        directory: Path,
        at: VersionName,
        told: Told,
        progress: Progress,
        *,
        durable: bool,
    ) -> Version:
        def copy(version: Version) -> None:
            self.parts.checkouts.copy(version, directory, durable=durable, progress=progress)

        found = None if at else newest_readable(self.parts.store, collection, copy, told=told)
        if found is not None:
            return found[0]
        # With nothing to find, this says so; a first version may have come meanwhile.
        version = self.version(collection, at)
        copy(version)
        return version

    def push(
        self,
        directory: Path | str,
        collection: str,
        *,
        replace: bool = False,
        progress: StepProgress = no_step_progress,
    ) -> Pushed:
        """Publish a closed ChromaDB directory as the next version; see ``replication.push``.

        Args:
            directory: no process may have it open.
            collection: the name in the vault.
            replace: publish it also where it was not made from the newest version.
            progress: called with the step, and how much of it is done, of how much.
        """
        with step("push", collection=collection, directory=str(directory)):
            return push(self.parts, Path(directory), collection, replace=replace, progress=progress)

    def pull(
        self,
        collection: str,
        directory: Path | str,
        *,
        at: VersionName = "",
        overwrite: bool = False,
        progress: Progress = no_progress,
    ) -> Pulled:
        """Bring a directory to a version, in one step; see ``replication.pull``.

        Args:
            collection: whose version.
            directory: where to; what an earlier pull left there is replaced.
            at: a number, an id, a tag or a time; the newest by default.
            overwrite: replace whatever is there.
            progress: called with fetched and all bytes.
        """
        target = Path(directory)
        with step("pull", collection=collection, directory=str(directory)):
            return pull(
                self.parts, collection, target, at=at, overwrite=overwrite, progress=progress
            )

    def replicate(
        self,
        directory: Path | str,
        collection: str,
        *,
        interval_s: float = 1.0,
        replace: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Replicated]:
        """Publish a directory as an application changes it; see ``replication.replicate``."""
        return replicate(
            self.parts,
            Path(directory),
            collection,
            interval_s=interval_s,
            replace=replace,
            stop=stop,
        )

    def follow(
        self,
        collection: str,
        folder: Path | str,
        *,
        interval_s: float = 1.0,
        stop: Callable[[], bool] = lambda: False,
        told: Told = tell_nobody,
        progress: Progress = no_progress,
    ) -> Iterator[Moved]:
        """Keep a copy of the newest version in a folder; see ``replication.follow``."""
        return follow(
            self.parts,
            collection,
            Path(folder),
            interval_s=interval_s,
            stop=stop,
            told=told,
            progress=progress,
        )

    def diff(self, collection: str, before: VersionName, after: VersionName = "") -> Difference:
        """Tell what changed between two versions: records, pages, bytes."""
        one, other = self.version(collection, before), self.version(collection, after)
        return difference(self.parts, one, other)

    def tag(self, collection: str, name: str, *, at: VersionName = "") -> Version:
        """Give a version a name; it stays until that is taken away."""
        version = self.version(collection, at)
        write_tag(self.parts.store, name, version)
        return version

    def untag(self, collection: str, name: str) -> None:
        """Take a name away; the version stays until garbage is collected."""
        delete_tag(self.parts.store, collection, name)

    def tags(self, collection: str) -> dict[str, str]:
        """Give the ids of the versions that have names, by name."""
        return read_tags(self.parts.store, collection)

    def rollback(
        self, collection: str, at: VersionName, *, progress: StepProgress = no_step_progress
    ) -> Pushed:
        """Publish an older version's content as the next version."""
        with step("push", collection=collection):
            return rollback(self.parts, collection, at, progress=progress)

    def retry(self, run_id: str) -> list[str]:
        """Put failed and cancelled parts of a run back; give the collections that wait again."""
        return put_back(self.parts, self.run(run_id, is_whole=True))

    def cancel(self, run_id: str) -> Cancelled:
        """Take a run off the list without its being merged; see ``cancelling.cancel``."""
        with step("cancel run") as told:
            told.note(run_id=run_id)
            return cancel(self.parts, self.run(run_id, is_whole=True))

    def trace(self, run_id: str) -> list[TraceStep]:
        """Tell every step of a run, from its deltas to the versions that contain it."""
        return trace_run(self.parts.store, self.run(run_id))

    def give_room(self) -> None:
        """Give back the working copies that stay open and that nobody uses."""
        if self._copies is not None:
            self._copies.close()

    def close(self) -> None:
        """Give back the ledger and the child processes."""
        self.give_room()
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
