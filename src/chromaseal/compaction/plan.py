"""Head and waiting runs -> what to do with each; decides, touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chromaseal import multiset
from chromaseal.delta.model import Delta
from chromaseal.run.model import Run
from chromaseal.seal.evidence import RecordSummary
from chromaseal.snapshot.manifest import MergedRun, Version


@dataclass(frozen=True, slots=True)
class Sorted:
    """Waiting runs, by whether the head contains them.

    Attributes:
        contained: in the head already; the ledger is behind.
        waiting: to be merged.
    """

    contained: tuple[Run, ...]
    waiting: tuple[Run, ...]


def sort_runs(waiting: Iterable[Run], merged: Iterable[MergedRun]) -> Sorted:
    """Tell the runs that the head contains from those that it does not."""
    known = {run.run_id for run in merged}
    runs = list(waiting)
    return Sorted(
        contained=tuple(run for run in runs if run.run_id in known),
        waiting=tuple(run for run in runs if run.run_id not in known),
    )


def runs_to_repeat(deltas: Sequence[Delta], merged: Iterable[MergedRun]) -> list[MergedRun]:
    """Give the merged runs that have to be applied once more after late ones.

    A run that arrives late must not win over a later run that was merged before it. Applying
    every later run again, in order, gives exactly what applying all of them in order would
    have given: an upsert sets a whole record, an update sets keys to fixed values, a delete
    removes, so what a run leaves does not depend on whether it was applied before.
    """
    if not deltas:
        return []
    oldest = min(delta.header.order for delta in deltas)
    return [run for run in merged if run.order > oldest]


def new_runs(deltas: Iterable[Delta], number: int) -> tuple[MergedRun, ...]:
    """Give the runs of deltas as the version of that number merges them."""
    return tuple(MergedRun(d.header.run_id, d.header.created_at, number) for d in deltas)


def halves(runs: int) -> list[int]:
    """Give the sizes of the two batches to try in place of one that failed, the oldest first."""
    return [runs // 2, runs - runs // 2]


def expected_records(before: Version | None, answer: Mapping[str, Any]) -> RecordSummary:
    """Give what was there, plus what came, minus what was replaced or deleted.

    Args:
        before: the head; None for a first version.
        answer: of the merge: ``removed``, ``added`` and ``difference``.
    """
    removed, added = multiset.from_text(answer["removed"]), multiset.from_text(answer["added"])
    if before is None:
        return RecordSummary(answer["difference"], (added - removed).to_text())
    records = before.manifest.records
    total = multiset.from_text(records.multiset) + added - removed
    return RecordSummary(records.count + answer["difference"], total.to_text())
