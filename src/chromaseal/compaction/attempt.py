"""One try at the next version of a collection, on top of the head as it is now.

checkout -> merge in a child -> seal -> verify -> commit -> ledger; layers are stored while the
child verifies, and nothing refers to them before the commit. A compactor that dies on any line
leaves objects that nothing refers to and a private copy that the next one sweeps away.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from chromaseal import pools
from chromaseal.clock import to_iso
from chromaseal.compaction.deltas import DeltasAtHand
from chromaseal.compaction.growth import growth_bytes
from chromaseal.compaction.marked import without_cancelled
from chromaseal.compaction.outcome import Compaction, blamed_on, may_be_rot
from chromaseal.compaction.plan import expected_records, new_runs, runs_to_repeat, sort_runs
from chromaseal.compaction.portion import Portion
from chromaseal.compaction.working_copies import WorkingCopies, WorkingCopy
from chromaseal.delta.model import Delta
from chromaseal.errors import (
    Conflict,
    Damaged,
    NotFound,
    RefusedInput,
    Unsupported,
)
from chromaseal.parts import Parts
from chromaseal.pin import CollectionPin, read_pin
from chromaseal.run.model import WAITING_STATES, Run, RunState
from chromaseal.sandbox import Progress, StepProgress, limits_for, no_progress
from chromaseal.seal.evidence import RecordSummary
from chromaseal.seal.sealed import Sealed, seal
from chromaseal.seal.verify import VerifiedSnapshot, verify
from chromaseal.snapshot.checkout import disk_full
from chromaseal.snapshot.history import (
    Head,
    head,
    line,
    lost_race_if_moved,
    merged_runs,
    missing_pointer,
    refuse_moved,
)
from chromaseal.snapshot.manifest import MergedRun, PastVersion, Version
from chromaseal.snapshot.publish import Draft, Layers, commit, store_layers
from chromaseal.stopwatch import Stopwatch
from chromaseal.telemetry.emit import carried, event
from chromaseal.telemetry.observer import Severity

# Whatever the ledger says of a run that is in a version, it is done.
_UNDONE = tuple(state for state in RunState if state is not RunState.COMPLETED)


@dataclass(frozen=True, slots=True)
class _Merged:
    """What came of a merge, and what its records have to amount to."""

    sealed: Sealed
    expected: RecordSummary


class Attempt:
    """One try, on top of the head as it is now.

    Args:
        parts: what the vault consists of.
        copies: where the next version is made.
        collection: whose runs.
        lost_races: how often another compactor was first.
        portion: how much of what waits to take.
        failed: where the reason goes, by run id, for runs whose delta cannot be read.
        progress: called with the step, and how much of it is done, of how much.
    """

    def __init__(
        self,
        parts: Parts,
        copies: WorkingCopies,
        collection: str,
        *,
        lost_races: int,
        portion: Portion,
        failed: dict[str, str],
        progress: StepProgress | None,
    ) -> None:
        self._parts = parts
        self._copies = copies
        self._collection = collection
        self._lost_races = lost_races
        self._portion = portion
        self._progress = progress
        self._pinned: CollectionPin | None = None
        self._failed = failed
        self._deltas = DeltasAtHand(parts.store, parts.codec, collection)
        self._watch = Stopwatch(parts.clock)
        self._step_now = ""

    def run(self) -> Compaction:
        """Merge, verify, publish, and tell the ledger.

        Raises:
            MergeFailedError: the deltas could not be merged; the runs wait on.
            Conflict: ``lost-race``.
        """
        found = self._head()
        store, pages = self._parts.store, self._parts.pages
        past = line(store, found.version, at_hand=pages) if found.version else []
        merged = merged_runs(past)
        runs = sort_runs(self._parts.ledger.waiting(self._collection), merged.contained)
        contained = tuple(run.run_id for run in runs.contained)
        self._complete(runs.contained, past)
        waiting = without_cancelled(self._parts, self._collection, runs.waiting)
        with self._step("read deltas"):
            chosen = self._portion.of(waiting, self._collection)
            deltas = self._read_deltas(found, chosen, merged.effective)
        if not deltas:
            return self._outcome(contained=contained)
        repeat = runs_to_repeat(deltas, merged.effective)
        with lost_race_if_moved(self._parts.store, self._collection, found):
            version = self._publish_merge(found, deltas, repeat)
        ids = tuple(delta.header.run_id for delta in deltas)
        self._move(ids, RunState.COMPLETED, version_id=version.version_id)
        return self._outcome(version=version, merged=ids, contained=contained)

    def merge_nothing(self) -> None:
        """Merge no delta, publish nothing: whatever fails then is not for a delta's sake.

        Raises:
            MergeFailedError: it fails.
        """
        found = self._head()
        with self._working_copy(found) as copy, blamed_on([]):
            self._verify(self._merge(found, [], [], copy), copy)

    def _head(self) -> Head:
        found = head(self._parts.store, self._collection)
        if found.version is None and self._parts.ledger.newest(
            collection=self._collection, state=RunState.COMPLETED, limit=1
        ):
            # Another compactor may have published and told the ledger between the two looks.
            found = head(self._parts.store, self._collection)
            if found.version is None:
                raise missing_pointer(self._collection)
        return found

    def _publish_merge(self, found: Head, deltas: list[Delta], repeat: list[MergedRun]) -> Version:
        parts = self._parts
        ids = [delta.header.run_id for delta in deltas]
        self._move(ids, RunState.MERGING)
        try:
            with self._working_copy(found) as copy:
                with blamed_on(deltas):
                    merged = self._merge(found, deltas, repeat, copy)
                draft = self._draft(found, deltas)
                store = functools.partial(self._store_layers, merged.sealed, draft, copy)
                with pools.beside(carried(store)) as storing:
                    with blamed_on(deltas):
                        snapshot = self._verify(merged, copy)
                    with self._step("publish"):
                        layers = storing.result()
                        # Whoever wants it stopped is heard once more: what follows is a version.
                        self._shown("publish")(1, 1)
                        version = commit(parts.store, snapshot, draft, layers, clock=parts.clock)
                copy.keep(version, merged.sealed)
                return version
        except BaseException as error:
            if found.version is not None and may_be_rot(error):
                # A copy that has gone bad on this machine must not fail the next attempt too.
                parts.checkouts.forget(found.version)
            self._move(ids, RunState.PENDING, error=str(error))
            raise

    @contextmanager
    def _working_copy(self, found: Head) -> Iterator[WorkingCopy]:
        with ExitStack() as held:
            with self._step("check out"):
                copy = held.enter_context(
                    self._copies.of(
                        self._collection, found.version, progress=self._shown("check out")
                    )
                )
            yield copy

    def _merge(
        self,
        found: Head,
        deltas: list[Delta],
        repeat: list[MergedRun],
        copy: WorkingCopy,
    ) -> _Merged:
        parts = self._parts
        repeated = [*map(self._deltas.read_merged, repeat)]
        everything = [*deltas, *repeated]
        changes = sum(map(len, everything))
        size_bytes = found.version.manifest.size_bytes if found.version else 0
        self._refuse_little_room(size_bytes, deltas, repeated)
        paths = self._deltas.store_locally(copy.scratch, everything)
        pin = self._pin()
        with self._step("merge"):
            merged = copy.merge(
                {
                    "collection": self._collection,
                    "space": pin.space,
                    "default_model": pin.is_chroma_default,
                    "deltas": paths,
                },
                limits=limits_for(size_bytes, changes),
                progress=self._shown("merge"),
            )
        with self._step("seal"):
            sealed = seal(
                merged.directory,
                open_files=parts.open_files,
                clock=parts.clock,
                known=merged.known,
            )
        return _Merged(sealed, expected_records(found.version, merged.answer))

    def _verify(self, merged: _Merged, copy: WorkingCopy) -> VerifiedSnapshot:
        with self._step("verify"):
            return verify(
                merged.sealed,
                sandbox=self._parts.sandbox,
                collection=self._collection,
                expected=merged.expected,
                space=self._pin().space,
                before=copy.kept.as_before() if copy.kept else None,
                merged_here=True,
            )

    def _store_layers(self, sealed: Sealed, draft: Draft, copy: WorkingCopy) -> Layers:
        return store_layers(
            self._parts.store,
            sealed,
            draft,
            kept=copy.kept,
            attempt=self._parts.ids.unique(),
            progress=self._shown("publish"),
        )

    def _draft(self, found: Head, deltas: list[Delta]) -> Draft:
        number = found.version.manifest.number + 1 if found.version else 1
        return Draft(
            collection=self._collection,
            head=found,
            model=self._pin().model,
            runs=new_runs(deltas, number),
            writer=self._parts.writer,
        )

    def _read_deltas(
        self, head_found: Head, runs: Sequence[Run], merged: tuple[MergedRun, ...]
    ) -> list[Delta]:
        found: list[Delta] = []
        begun_s, most_s = self._parts.clock.monotonic_s(), self._portion.read_s
        for done, run in enumerate(runs):
            if found and most_s is not None and self._parts.clock.monotonic_s() > begun_s + most_s:
                # What was read is to become a version in the time that is left.
                break
            try:
                delta = self._deltas.read(run, self._pin())
                for later in runs_to_repeat([delta], merged):
                    self._deltas.read_merged(later)
            except (Damaged, NotFound, Unsupported, RefusedInput, Conflict) as error:
                if isinstance(error, NotFound):
                    # Another may have merged it, and garbage collection come after that.
                    refuse_moved(self._parts.store, self._collection, head_found)
                # One bad delta is set aside and does not stop the others.
                self._failed[run.run_id] = error.message
                event(
                    "delta set aside",
                    Severity.WARNING,
                    collection=self._collection,
                    run_id=run.run_id,
                    reason=error.kind,
                )
                self._move([run.run_id], RunState.FAILED, error=error.message)
            else:
                found.append(delta)
            self._shown("read deltas")(done + 1, len(runs))
        return found

    def _refuse_little_room(
        self, directory_bytes: int, deltas: list[Delta], repeated: list[Delta]
    ) -> None:
        """Begin no merge that may fill the disk: what was asked before went by compressed sizes."""
        stored_bytes = self._deltas.stored_bytes([*deltas, *repeated])
        needed = directory_bytes + growth_bytes(deltas, repeated) + stored_bytes
        free = self._parts.checkouts.free_bytes()
        if free < needed:
            raise disk_full(
                f"merging {len(deltas)} deltas into {self._collection} may take "
                f"{needed / 1e6:.0f} MB in the cache, whose disk has {free / 1e6:.0f} MB left"
            )

    def _pin(self) -> CollectionPin:
        if self._pinned is None:
            self._pinned = read_pin(self._parts.store, self._collection)
        if self._pinned is None:
            raise NotFound(
                f"there is no collection {self._collection} in the vault",
                kind="no-collection",
                hint="its first `chromaseal ingest` or write makes it",
            )
        return self._pinned

    def _complete(self, runs: tuple[Run, ...], past: list[PastVersion]) -> None:
        """Tell the ledger of runs that a version contains, whatever it said of them."""
        ids = {run_id: version.version_id for version in past for run_id, _ in version.runs}
        for run in runs:
            self._move([run.run_id], RunState.COMPLETED, version_id=ids[run.run_id])

    def _move(
        self,
        run_ids: list[str] | tuple[str, ...],
        to: RunState,
        *,
        version_id: str = "",
        error: str = "",
    ) -> None:
        event(
            "runs moved",
            Severity.DEBUG,
            collection=self._collection,
            runs=len(run_ids),
            state=to.value,
        )
        self._parts.ledger.move(
            run_ids,
            self._collection,
            states=_UNDONE if to is RunState.COMPLETED else WAITING_STATES,
            to=to,
            at=to_iso(self._parts.clock.now()),
            version_id=version_id,
            error=error,
        )

    def _outcome(
        self,
        *,
        version: Version | None = None,
        merged: tuple[str, ...] = (),
        contained: tuple[str, ...] = (),
    ) -> Compaction:
        return Compaction(
            collection=self._collection,
            version=version,
            merged=merged,
            contained=contained,
            failed=self._failed,
            lost_races=self._lost_races,
            durations_s=self._watch.durations_s,
        )

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self._step_now = name
        self._shown(name)(0, 0)
        with self._watch.step(name):
            yield

    def _shown(self, name: str) -> Progress:
        if self._progress is None:
            return no_progress
        tell = self._progress

        def shown(done: int, total: int) -> None:
            # What goes on beside another step is told of once that is over.
            if name == self._step_now:
                tell(name, done, total)

        return shown
