"""A run that waits or has failed -> off the list, or put back on it.

A run is in a version or it is not, and cancelling finds out which. The order of the steps makes
the answer final: the mark, so that no attempt that begins from now on takes it, and no ledger
made anew brings it back; the ledger, so that it does not wait there; the fence, so that no attempt
that began before can commit it; and only then the look at what the newest version contains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chromaseal.clock import to_iso
from chromaseal.errors import ChromasealError, Conflict, Damaged, Unavailable
from chromaseal.parts import Parts
from chromaseal.run.model import WAITING_STATES, Run, RunState
from chromaseal.run.owner import shown_owner
from chromaseal.snapshot.cancellations import (
    delete_mark,
    fence,
    has_mark,
    version_with,
    write_mark,
)
from chromaseal.snapshot.history import missing_pointer, pointer

_MAY_BE_CANCELLED = (*WAITING_STATES, RunState.FAILED)
_MAY_BE_PUT_BACK = (RunState.FAILED, RunState.CANCELLED)
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of a run that was to be cancelled.

    Attributes:
        run_id: its whole id.
        cancelled: collections that will not get it.
        contained: the version that has it, by collection; there it stays.
    """

    run_id: str
    cancelled: tuple[str, ...]
    contained: Mapping[str, str]


def cancel(parts: Parts, run: Run) -> Cancelled:
    """Take a run off the list of every collection whose versions do not contain it.

    Its deltas stay where they are. May be repeated, and is then also the answer to whether a
    run is out for good.

    Raises:
        Conflict: ``already-merged``, versions contain all of it.
        Conflict: ``being-merged``, it is cancelled unless the first version of a collection,
            which somebody is at, brings it in after all; repeat it when they are done.
        Damaged: a collection's newest version cannot be read or is lost, so nobody knows.
        Unavailable: the store or the ledger did not answer; repeat it.
    """
    contained: dict[str, str] = {}
    unsettled: list[ChromasealError] = []
    for name in sorted(run.parts):
        try:
            contained[name] = _take_off(parts, run, name)
        except (Conflict, Damaged) as error:
            # The other collections are to go without the run all the same.
            unsettled.append(error)
    if unsettled:
        raise unsettled[0]
    merged = {name: version_id for name, version_id in contained.items() if version_id}
    if merged and len(merged) == len(contained):
        where = ", ".join(f"{version_id} of {name}" for name, version_id in merged.items())
        raise Conflict(
            f"run {run.run_id} was merged before it could be cancelled: {where}",
            kind="already-merged",
            hint="versions are never changed: undo it by a run that writes what was there before, "
            "or by chromaseal rollback",
        )
    off = tuple(name for name, version_id in contained.items() if not version_id)
    return Cancelled(run.run_id, off, merged)


def put_back(parts: Parts, run: Run) -> list[str]:
    """Let the failed and cancelled parts of a run wait again; give their collections."""
    names = [name for name, part in run.parts.items() if part.state in _MAY_BE_PUT_BACK]
    for name in names:
        # First the mark: a sweep takes what has one off again.
        delete_mark(parts.store, name, run.run_id)
        _move(parts, run, name, _MAY_BE_PUT_BACK, RunState.PENDING)
    return names


def _take_off(parts: Parts, run: Run, name: str) -> str:
    """Cancel a run for one collection; give the version that has it, if there is one."""
    if run.parts[name].state is RunState.COMPLETED:
        version_id = _contained(parts, run, name)
        if version_id:
            # An earlier cancelling may have left one, which is of no use beside a version.
            delete_mark(parts.store, name, run.run_id)
            return version_id
    _mark(parts, run, name)
    # Where nothing could be fenced it is asked who is at work, before the look: whoever is done by
    # then has made a version that is seen.
    lease = None if fence(parts.store, name) else parts.leases.holder(name)
    version_id = version_with(parts.store, name, run.run_id)
    if version_id:
        undone = (*_MAY_BE_CANCELLED, RunState.CANCELLED)
        _move(parts, run, name, undone, RunState.COMPLETED, version_id=version_id)
        delete_mark(parts.store, name, run.run_id)
        return version_id
    if lease is not None:
        raise Conflict(
            f"run {run.run_id} is cancelled, unless {shown_owner(lease.owner)}, who is making the "
            f"first version of {name}, has it already",
            kind="being-merged",
            hint=f"once that is over: chromaseal runs cancel {run.run_id}",
        )
    return ""


def _contained(parts: Parts, run: Run, name: str) -> str:
    """Give the version that has a run that the ledger calls done; empty if none does.

    The vault is right: a ledger may be ahead of one that was put back from a copy.

    Raises:
        Damaged: ``missing-pointer``, so nobody knows.
    """
    if pointer(parts.store, name)[0] is None:
        raise missing_pointer(name)
    return version_with(parts.store, name, run.run_id)


def _mark(parts: Parts, run: Run, name: str) -> None:
    """Mark a run as cancelled, in the vault and then in the ledger.

    Who puts it back at the same moment may take the mark away before the ledger says CANCELLED,
    and find nothing to move. So it is looked for once more: then either it is there, or whoever
    took it away moves the part to PENDING after this.

    Raises:
        Unavailable: ``unknown-outcome``, others put it back each time.
    """
    part = run.parts[name]
    states: tuple[RunState, ...] = _MAY_BE_CANCELLED
    if part.state is RunState.COMPLETED:
        states = (*states, part.state)
    for _ in range(_ATTEMPTS):
        write_mark(parts.store, name, run.run_id)
        _move(parts, run, name, states, RunState.CANCELLED, error=part.error)
        if has_mark(parts.store, name, run.run_id):
            return
    raise Unavailable(
        f"run {run.run_id} was put back each time that it was cancelled",
        kind="unknown-outcome",
        hint="run the same command again once nobody else puts it back",
    )


def _move(
    parts: Parts,
    run: Run,
    name: str,
    states: Iterable[RunState],
    to: RunState,
    *,
    version_id: str = "",
    error: str = "",
) -> None:
    at = to_iso(parts.clock.now())
    parts.ledger.move(
        [run.run_id], name, states=states, to=to, at=at, version_id=version_id, error=error
    )
