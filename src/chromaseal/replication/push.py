"""A closed ChromaDB directory -> the next version of a collection."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from chromaseal import keys
from chromaseal.embedding import ModelPin
from chromaseal.errors import Conflict
from chromaseal.parts import Parts
from chromaseal.pin import DEFAULT_SPACE, CollectionPin, pin_collection, read_pin
from chromaseal.replication.origins import Origin, origin_of, origins_of
from chromaseal.sandbox import Progress, StepProgress, no_step_progress
from chromaseal.seal.page_table import FileStamp, Known
from chromaseal.seal.sealed import Sealed, refuse_not_chromadb, seal
from chromaseal.seal.verify import VerifiedSnapshot, verify
from chromaseal.snapshot.history import Head, head, lost_race_if_moved, refuse_moved
from chromaseal.snapshot.kept import Kept
from chromaseal.snapshot.manifest import Version
from chromaseal.snapshot.publish import Draft, publish
from chromaseal.snapshot.races import Backoff, until_won
from chromaseal.snapshot.version_id import parse
from chromaseal.stopwatch import Stopwatch

CheckHead: TypeAlias = Callable[[Head], None]

_BACKOFF = Backoff(attempts=200, first_wait_s=0.01, longest_wait_s=8.0)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a directory that was to be published.

    Attributes:
        version: the version that has the directory's content.
        new: False if the newest version had it already.
        lost_races: how often somebody else published first.
        stored_bytes: of the objects that were stored.
        durations_s: seconds by step.
    """

    version: Version
    new: bool
    lost_races: int = 0
    stored_bytes: int = 0
    durations_s: Mapping[str, float] = field(default_factory=dict)


def push(
    parts: Parts,
    directory: Path,
    collection: str,
    *,
    replace: bool = False,
    progress: StepProgress = no_step_progress,
) -> Pushed:
    """Publish a directory as the next version of a collection.

    Args:
        parts: what the vault consists of.
        directory: a ChromaDB directory that no process has open.
        collection: the name in the vault.
        replace: publish it also where it was not made from the newest version.
        progress: called with the step, and how much of it is done, of how much.

    Raises:
        Conflict: ``not-the-newest``, the directory was not made from the newest version, and
            publishing it would undo what came since.
        Conflict: ``still-open``, ``changed-while-reading``.
        RefusedInput: ``not-chromadb``.
        Damaged: ``hot-journal``, ``not-a-plain-file``, ``failed-verification``.
    """
    keys.check_collection(collection)
    refuse_not_chromadb(directory)
    origins = origins_of(parts, collection)
    announce = functools.partial(origins.announce, directory)
    commit = Commit(parts, collection, announce=announce, progress=progress)
    # A pull that replaced the directory in between would have its content taken for another's.
    with origins.locked(directory):
        origin = origins.read(directory)

        def from_newest(found: Head) -> None:
            if found.version is None or replace or origins.made(directory, found.version):
                return
            raise not_the_newest(directory, found.version, origin)

        pushed = commit.run(directory, origin, check=from_newest)
        if commit.sealed is not None:
            stamps, at_ns = commit.sealed.stamps, commit.sealed_at_ns
            origins.write(directory, origin_of(pushed.version, stamps, at_ns))
    return pushed


class Commit:
    """Publishes a directory on top of whatever the head is.

    Args:
        parts: what the vault consists of.
        collection: the name in the vault.
        restores: the number of the version whose content it brings back, if it does.
        announce: told of each attempt before anything is stored for it.
        progress: called with the step, and how much of it is done, of how much.
    """

    def __init__(
        self,
        parts: Parts,
        collection: str,
        *,
        restores: int | None = None,
        announce: Callable[[str], None] = lambda _: None,
        progress: StepProgress = no_step_progress,
    ) -> None:
        self._announce = announce
        self._parts = parts
        self._collection = collection
        self._restores = restores
        self._progress = progress
        self._watch = Stopwatch(parts.clock)
        self._verified: VerifiedSnapshot | None = None
        self.sealed: Sealed | None = None
        self.sealed_at_ns = 0

    def run(
        self, directory: Path, origin: Origin | None, *, check: CheckHead | None = None
    ) -> Pushed:
        """Seal, verify and publish; repeat where somebody else was first.

        Args:
            directory: what to publish.
            origin: which version it was at an earlier time.
            check: raises where the directory must not follow the head.

        Raises:
            Conflict: ``too-many-races``.
        """
        return until_won(
            lambda lost_races: self._follow_head(directory, origin, check, lost_races),
            self._collection,
            _BACKOFF,
            clock=self._parts.clock,
            ids=self._parts.ids,
            hint="run the same command again, with fewer writers at once",
        )

    def _follow_head(
        self, directory: Path, origin: Origin | None, check: CheckHead | None, lost_races: int
    ) -> Pushed:
        found = head(self._parts.store, self._collection)
        if check is not None:
            try:
                check(found)
            except Conflict:
                # Whoever died as the pointer had just moved comes again with what is there.
                if not self._is_newest(directory, origin, found):
                    raise
        with lost_race_if_moved(self._parts.store, self._collection, found):
            return self._attempt(directory, origin, found, lost_races)

    def _attempt(
        self, directory: Path, origin: Origin | None, found: Head, lost_races: int
    ) -> Pushed:
        parts = self._parts
        kept: Kept | None = None
        if found.version is not None:
            with self._step("fetch"):
                kept = parts.checkouts.bring(found.version, progress=self._shown("fetch"))
        if self.sealed is None:
            with self._step("seal"):
                self.sealed = self._seal(directory, origin, kept)
        sealed = self.sealed
        if found.version is not None and self._same(found.version, sealed):
            return Pushed(found.version, new=False, durations_s=self._watch.durations_s)
        if self._verified is None:
            with self._step("verify"):
                self._verified = self._verify(sealed, kept)
        draft = Draft(
            collection=self._collection,
            head=found,
            model=self._pin(self._verified),
            runs=(),
            writer=parts.writer,
            restores=self._restores,
        )
        if lost_races:
            # Where many publish, most attempts are lost by now: nothing is stored for those.
            refuse_moved(parts.store, self._collection, found)
        attempt = parts.ids.unique()
        self._announce(attempt)
        with self._step("publish"):
            version = publish(
                parts.store,
                self._verified,
                draft,
                kept=kept,
                attempt=attempt,
                clock=parts.clock,
                progress=self._shown("publish"),
            )
        with self._step("keep"):
            parts.checkouts.keep_copy(version, sealed, kept)
        return Pushed(
            version,
            new=True,
            lost_races=lost_races,
            stored_bytes=version.as_past.stored_bytes,
            durations_s=self._watch.durations_s,
        )

    def _is_newest(self, directory: Path, origin: Origin | None, found: Head) -> bool:
        if self.sealed is None:
            self.sealed = self._seal(directory, origin, None)
        return found.version is not None and self._same(found.version, self.sealed)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self._progress(name, 0, 0)
        with self._watch.step(name):
            yield

    def _shown(self, step: str) -> Progress:
        return functools.partial(self._progress, step)

    def _seal(self, directory: Path, origin: Origin | None, kept: Kept | None) -> Sealed:
        known = None if kept is None else _known(kept, origin)
        self.sealed_at_ns = int(self._parts.clock.now().timestamp() * 1e9)
        return seal(
            directory, open_files=self._parts.open_files, clock=self._parts.clock, known=known
        )

    def _same(self, version: Version, sealed: Sealed) -> bool:
        entries = tuple(file.table.entry(file.path) for file in sealed.files)
        return self._restores is None and entries == version.manifest.files

    def _verify(self, sealed: Sealed, kept: Kept | None) -> VerifiedSnapshot:
        pin = read_pin(self._parts.store, self._collection)
        named = pin is not None and pin.dimension > 0
        return verify(
            sealed,
            sandbox=self._parts.sandbox,
            collection=self._collection if named else "",
            space=pin.space if pin is not None and named else "",
            before=kept.as_before() if kept else None,
        )

    def _pin(self, snapshot: VerifiedSnapshot) -> ModelPin | None:
        """Pin the collection to what the directory has of it, or check that it fits."""
        parts, name = self._parts, self._collection
        pin = read_pin(parts.store, name)
        own = next((each for each in snapshot.collections if each.name == name), None)
        dimension = own.dimension or 0 if own else 0
        space = own.space if own else DEFAULT_SPACE
        if pin is None:
            pin = pin_collection(parts.store, CollectionPin(name, dimension, space, None))
        elif pin.dimension and dimension and pin.dimension != dimension:
            pin_collection(parts.store, CollectionPin(name, dimension, space, pin.model))
        return pin.model


def _known(kept: Kept, origin: Origin | None) -> Known:
    stamps: Mapping[str, FileStamp] = {}
    stamped_at_ns = 0
    if origin is not None and origin.version_id == kept.version.version_id:
        stamps, stamped_at_ns = origin.stamps, origin.stamped_at_ns
    return kept.known(stamps, stamped_at_ns)


def not_the_newest(directory: Path, newest: Version, origin: Origin | None) -> Conflict:
    """Make the error for a directory whose content would undo what came since."""
    number = newest.manifest.number
    collection = newest.manifest.collection
    if origin is None:
        made_from = "this machine knows no version that it was made from"
    else:
        made_from = f"it was made from version {parse(origin.version_id).number}"
    return Conflict(
        f"{directory} does not follow version {number}, the newest of {collection}: {made_from}, "
        f"so publishing it would undo what came since",
        kind="not-the-newest",
        hint=f"`chromaseal pull {collection} NEW_DIR` and make the changes there, publish it "
        "under another name, or say --replace to publish it all the same",
    )
