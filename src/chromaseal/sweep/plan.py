"""What vault and ledger say of runs -> what the ledger lacks; decides, touches nothing.

The vault is right. A run in a version is COMPLETED, whether or not a rollback has undone it; any
other that is marked as cancelled is CANCELLED; a delta that no version has waits; one that cannot
be read has failed. A run of which deltas are missing was acknowledged to nobody, and is left to
whoever writes it again: half of it as a run would refuse the whole. What a ledger says and the
vault does not contradict stays as it is: how often a run was tried, why it was set aside.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chromaseal.clock import from_iso, to_iso
from chromaseal.run.model import Run, RunPart, RunState

_LOST = "the version that had it is lost"


@dataclass(frozen=True, slots=True)
class StoredDelta:
    """One delta in the vault.

    Attributes:
        key: of the object; empty where garbage collection took it.
        size_bytes: of the object.
        changes: in it.
        created_at: when its run began, as its header says; empty where that cannot be read.
        attributes: what its writer wants remembered.
        collections: for which its run has a delta; empty where its writer did not say.
        problem: why it cannot be read; empty if it can.
    """

    key: str
    size_bytes: int = 0
    changes: int = 0
    created_at: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    collections: frozenset[str] = frozenset()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Contained:
    """Where a run is contained.

    Attributes:
        version_id: the version that merged it.
        created_at: when the run began, as the version has it.
        merged_at: when the version was made.
    """

    version_id: str
    created_at: str
    merged_at: str


@dataclass(frozen=True, slots=True)
class Holding:
    """What a vault has of one collection's runs.

    Attributes:
        stored: every delta, by run id; of those that the ledger does not know with their headers.
        contained: the runs that versions have, by id.
        cancelled: the ids of runs that are not to be merged.
        unreadable: why nobody knows which runs versions have; empty if it is known.
    """

    stored: Mapping[str, StoredDelta]
    contained: Mapping[str, Contained] = field(default_factory=dict)
    cancelled: frozenset[str] = frozenset()
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """A part of a run whose state the vault contradicts."""

    run_id: str
    collection: str
    state: RunState
    to: RunState
    version_id: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done to a ledger.

    Attributes:
        add: runs that it lacks.
        moves: parts that are further, or less far, than it says.
        right: how many parts it is right about.
        left: what cannot be settled, with the reason.
    """

    add: tuple[Run, ...]
    moves: tuple[Move, ...]
    right: int
    left: tuple[str, ...]


def plan_ledger(
    known: Sequence[Run],
    vault: Mapping[str, Holding],
    *,
    now: dt.datetime,
    settled: dt.timedelta = dt.timedelta(),
) -> Plan:
    """Compare a ledger with its vault.

    Args:
        known: every run of the ledger, read before the vault was looked at.
        vault: what it holds, by collection.
        now: what deltas are counted as settled from.
        settled: how old a run must be that no ledger knows: its writer may be about to tell.
            Zero takes all, whatever their writers' clocks say.
    """
    by_id = {run.run_id: run for run in known}
    moves, right = _moves(known, vault)
    add: list[Run] = []
    left: list[str] = []
    for run_id, names in sorted(_unknown(by_id, vault).items()):
        blind = [name for name in names if vault[name].unreadable]
        if run_id in by_id:
            left.append(_without(run_id, names))
        elif blind:
            left.append(f"run {run_id}: which runs {', '.join(blind)} has cannot be read")
        elif missing := _missing(run_id, names, vault):
            left.append(
                f"run {run_id} has a delta for {', '.join(names)} and none for "
                f"{', '.join(missing)}: its writer died, and writing it again completes it"
            )
        else:
            if apart := _apart(run_id, names, vault):
                left.append(_without(run_id, apart))
            whole = [name for name in names if name not in apart]
            run = _run(run_id, {name: vault[name] for name in whole}, now)
            # Where nobody is waited for, a writer whose clock is ahead is none to wait for either.
            if settled and _is_young(run, now - settled):
                left.append(f"run {run_id} has just begun")
            else:
                add.append(run)
    return Plan(tuple(add), tuple(moves), right, tuple(left))


def _unknown(by_id: Mapping[str, Run], vault: Mapping[str, Holding]) -> dict[str, list[str]]:
    """Give the collections of each run that the ledger does not know to have a part of them."""
    found: dict[str, list[str]] = {}
    for name, holding in sorted(vault.items()):
        for run_id in {*holding.stored, *holding.contained}:
            if run_id not in by_id or name not in by_id[run_id].parts:
                found.setdefault(run_id, []).append(name)
    return found


def _missing(run_id: str, names: Sequence[str], vault: Mapping[str, Holding]) -> list[str]:
    """Give the collections of a run for which its writer has stored nothing."""
    holdings = [vault[name] for name in names]
    if any(run_id in each.contained for each in holdings):
        return []
    stored = (each.stored.get(run_id) for each in holdings)
    wanted = {name for each in stored if each for name in each.collections}
    return sorted(wanted.difference(names))


def _apart(run_id: str, names: Sequence[str], vault: Mapping[str, Holding]) -> list[str]:
    """Give the collections of which a run's delta is that of a writer who came to no end.

    A ledger has a run's collections from one writer, and versions have runs from a ledger alone.
    So a delta that names none of the collections whose versions have its run is another's.
    """
    merged = {name for name in names if run_id in vault[name].contained}
    stored = {name: vault[name].stored.get(run_id, StoredDelta("")) for name in names}
    named = {name: each.collections for name, each in stored.items() if name not in merged}
    return [name for name, those in named.items() if merged and those and not those & merged]


def _without(run_id: str, names: Sequence[str]) -> str:
    return f"run {run_id} has a delta for {', '.join(names)} and was written without"


def _moves(known: Sequence[Run], vault: Mapping[str, Holding]) -> tuple[list[Move], int]:
    parts = [(run.run_id, name, part) for run in known for name, part in run.parts.items()]
    moves = [
        move
        for run_id, name, part in parts
        if name in vault and not vault[name].unreadable
        for move in _contradicted(run_id, name, part, vault[name])
    ]
    return moves, len(parts) - len(moves)


def _contradicted(run_id: str, collection: str, part: RunPart, holding: Holding) -> Iterator[Move]:
    done, contained = part.state is RunState.COMPLETED, holding.contained.get(run_id)
    if contained is None:
        # Without a mark it stays cancelled: whoever was about to put it back does so again.
        if run_id in holding.cancelled and part.state is not RunState.CANCELLED:
            yield Move(run_id, collection, part.state, RunState.CANCELLED, error=part.error)
        elif done:
            yield Move(run_id, collection, part.state, RunState.PENDING, error=_LOST)
    elif not done or part.version_id != contained.version_id:
        version_id = contained.version_id
        yield Move(run_id, collection, part.state, RunState.COMPLETED, version_id)


def _run(run_id: str, holdings: Mapping[str, Holding], now: dt.datetime) -> Run:
    stored = [each.stored.get(run_id, StoredDelta("")) for each in holdings.values()]
    contained = [each.contained.get(run_id) for each in holdings.values()]
    begun = [each.created_at for each in contained if each]
    begun += [each.created_at for each in stored if each.created_at]
    at = to_iso(now)
    return Run(
        run_id=run_id,
        created_at=begun[0] if begun else at,
        parts={name: _part(run_id, holding, at) for name, holding in holdings.items()},
        attributes=next((each.attributes for each in stored if each.attributes), {}),
    )


def _part(run_id: str, holding: Holding, at: str) -> RunPart:
    stored, contained = holding.stored.get(run_id, StoredDelta("")), holding.contained.get(run_id)
    state, version_id, finished_at = RunState.PENDING, "", ""
    if contained is not None:
        state, version_id = RunState.COMPLETED, contained.version_id
        finished_at = contained.merged_at
    elif run_id in holding.cancelled:
        state, finished_at = RunState.CANCELLED, at
    elif stored.problem:
        state, finished_at = RunState.FAILED, at
    return RunPart(
        state=state,
        delta_key=stored.key,
        size_bytes=stored.size_bytes,
        changes=stored.changes,
        version_id=version_id,
        error=stored.problem if state is RunState.FAILED else "",
        finished_at=finished_at,
    )


def _is_young(run: Run, settled_by: dt.datetime) -> bool:
    """Whether a run's writer may be about to tell the ledger of it."""
    if any(part.state is RunState.COMPLETED for part in run.parts.values()):
        return False
    try:
        return from_iso(run.created_at) > settled_by
    except ValueError:
        return False
