"""Head and waiting runs -> what to do with each; decides, touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chromaseal.delta.model import Delta
from chromaseal.run.model import Run
from chromaseal.snapshot.manifest import MergedRun


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
