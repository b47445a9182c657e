"""Waiting runs -> versions of a collection, or a clear reason for each that cannot be merged.

All that waits goes into one version, or as much of it as there is room and time for. Where that
fails it is tried in halves, until the one run is found with which nothing can be done; it is set
aside, and the others go on.
"""

from __future__ import annotations

from chromaseal.clock import to_iso
from chromaseal.compaction.attempt import Attempt
from chromaseal.compaction.outcome import Compaction, MergeFailedError, may_be_rot, together
from chromaseal.compaction.plan import halves
from chromaseal.compaction.portion import ALL, Portion, needed_bytes
from chromaseal.compaction.working_copies import WorkingCopies
from chromaseal.errors import ChromasealError, Unavailable
from chromaseal.ids import wait_after_s
from chromaseal.parts import Parts
from chromaseal.run.model import WAITING_STATES, RunState
from chromaseal.sandbox import StepProgress
from chromaseal.snapshot.checkout import disk_full
from chromaseal.snapshot.history import head
from chromaseal.snapshot.races import Backoff, until_won
from chromaseal.telemetry.emit import event
from chromaseal.telemetry.observer import Severity

_BACKOFF = Backoff(attempts=20, first_wait_s=0.05, longest_wait_s=5.0)
# A child may be killed for what others do on the machine; more than twice that is no accident.
_TRIES_ALONE = 3
_TRIES_ON_COPIES = 2
_FIRST_PAUSE_S = 0.5
_CLOSED = "closed"
_DISK_FULL = "disk-full"


class Compactor:
    """Folds waiting runs into versions.

    Args:
        parts: what the vault consists of.
        copies: where versions are made.
    """

    def __init__(self, parts: Parts, copies: WorkingCopies) -> None:
        self._parts = parts
        self._copies = copies

    def compact(
        self,
        collection: str,
        *,
        portion: Portion = ALL,
        progress: StepProgress | None = None,
    ) -> Compaction:
        """Fold what waits for a collection into a new version.

        Where the runs cannot be merged together, several versions come of it.

        Args:
            collection: whose runs.
            portion: how much of what waits; the rest waits on.
            progress: called with the step, and how much of it is done, of how much.

        Raises:
            Conflict: ``too-many-races``.
            Damaged: the head cannot be read, or not even merging nothing gives what verifies.
            Unavailable: store, ledger or child did not answer; the runs wait on.
        """
        return _Compacting(self._parts, self._copies, collection, portion, progress).run()


class _Compacting:
    """One pass over what waits for a collection."""

    def __init__(
        self,
        parts: Parts,
        copies: WorkingCopies,
        collection: str,
        portion: Portion,
        progress: StepProgress | None,
    ) -> None:
        self._parts = parts
        self._copies = copies
        self._collection = collection
        self._portion = portion
        self._progress = progress
        self._failed: dict[str, str] = {}
        self._tries: dict[str, int] = {}

    def run(self) -> Compaction:
        """Merge, by batches where need be."""
        done: list[Compaction] = []
        # How many of the oldest waiting runs to take; None for the portion. The first is the last.
        batches: list[int | None] = [None]
        while batches:
            most = batches.pop()
            try:
                done.append(self._won(most))
            except MergeFailedError as error:
                if error.cause.kind == _CLOSED:
                    raise error.cause from error
                batches += self._after(error)
        return together(self._collection, done, self._failed)

    def _won(self, most: int | None) -> Compaction:
        return until_won(
            lambda lost_races: self._attempt(lost_races, most).run(),
            self._collection,
            _BACKOFF,
            clock=self._parts.clock,
            ids=self._parts.ids,
            hint="the runs wait on; run fewer compactors per collection",
        )

    def _attempt(self, lost_races: int = 0, most: int | None = None) -> Attempt:
        return Attempt(
            self._parts,
            self._copies,
            self._collection,
            lost_races=lost_races,
            portion=self._portion.at_most(most),
            failed=self._failed,
            progress=self._progress,
        )

    def _after(self, error: MergeFailedError) -> list[int | None]:
        """Decide how to go on after a merge that failed: the batches to try, the last one first."""
        runs = len(error.run_ids)
        if runs > 1:
            event(
                "merge split",
                Severity.WARNING,
                collection=self._collection,
                runs=runs,
                reason=error.cause.message,
            )
            return [*reversed(halves(runs))]
        if error.cause.kind == _DISK_FULL:
            raise error.cause from error
        (run_id,) = error.run_ids
        tries = self._tries[run_id] = self._tries.get(run_id, 0) + 1
        if isinstance(error.cause, Unavailable) and tries < _TRIES_ALONE:
            pause_s = wait_after_s(tries, self._parts.ids, first_s=_FIRST_PAUSE_S)
            self._parts.clock.sleep(pause_s)
            return [1]
        if may_be_rot(error) and tries < _TRIES_ON_COPIES:
            # What it was merged into may have gone bad on this machine; the next try has another.
            return [1]
        self._set_aside(run_id, error.cause)
        return []

    def _set_aside(self, run_id: str, cause: ChromasealError) -> None:
        """Set a run aside that fails alone, if its delta is what it fails for.

        Raises:
            ChromasealError: merging nothing fails as well.
            Unavailable: ``disk-full``, the disk may be what it fails for.
        """
        self._refuse_full_disk(run_id, cause)
        try:
            self._attempt().merge_nothing()
        except MergeFailedError as error:
            raise error.cause from cause
        run = self._parts.ledger.get(run_id)
        key = run.parts[self._collection].delta_key if run else ""
        reason = f"{key} cannot be merged: {cause.message}"
        self._failed[run_id] = reason
        event(
            "delta set aside",
            Severity.WARNING,
            collection=self._collection,
            run_id=run_id,
            reason=cause.kind,
        )
        self._parts.ledger.move(
            [run_id],
            self._collection,
            states=WAITING_STATES,
            to=RunState.FAILED,
            at=to_iso(self._parts.clock.now()),
            error=reason,
        )

    def _refuse_full_disk(self, run_id: str, cause: ChromasealError) -> None:
        """Blame no delta on a disk that others have filled meanwhile.

        Whoever merges seldom learns that it is full: SQLite and ChromaDB have words of their own.
        """
        run = self._parts.ledger.get(run_id)
        version = head(self._parts.store, self._collection).version
        needed = needed_bytes(
            version.manifest.size_bytes if version else 0,
            run.parts[self._collection].size_bytes if run else 0,
        )
        free = self._parts.checkouts.free_bytes()
        if free < needed:
            raise disk_full(
                f"merging run {run_id} into {self._collection} may take {needed / 1e6:.0f} MB in "
                f"the cache, whose disk has {free / 1e6:.0f} MB left, and failed; the run waits on"
            ) from cause
