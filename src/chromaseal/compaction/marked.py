"""Waiting runs -> those that are to be merged; the others become CANCELLED in the ledger too.

The vault is asked, whatever the ledger says: a ledger may have been lost, or have lost what it was
told.
"""

from __future__ import annotations

from chromaseal.clock import to_iso
from chromaseal.parts import Parts
from chromaseal.run.model import WAITING_STATES, Run, RunState
from chromaseal.snapshot.cancellations import read_marks


def without_cancelled(parts: Parts, collection: str, runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """Leave out the runs that have a mark.

    Args:
        parts: what the vault consists of.
        collection: whose runs.
        runs: that no version contains. They were asked for after the head and before this, so
            that no mark of before the head is missed, and none that was gone before they waited
            is met.
    """
    # Nobody asks for marks where nothing waits.
    marked = read_marks(parts.store, collection) if runs else frozenset()
    # What a run failed for before stays: whoever asks why it was cancelled looks there.
    by_reason: dict[str, list[str]] = {}
    for run in runs:
        if run.run_id in marked:
            by_reason.setdefault(run.parts[collection].error, []).append(run.run_id)
    for reason, run_ids in by_reason.items():
        at, to = to_iso(parts.clock.now()), RunState.CANCELLED
        parts.ledger.move(run_ids, collection, states=WAITING_STATES, to=to, at=at, error=reason)
    return tuple(run for run in runs if run.run_id not in marked)
