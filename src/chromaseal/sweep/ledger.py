"""A vault -> its ledger, made anew or completed.

The ledger is read first and the vault after it: a run that the ledger calls COMPLETED then was
in a version when that was looked up. May be repeated, and may die on any line.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace

from chromaseal import keys
from chromaseal.clock import to_iso
from chromaseal.compaction.deltas import read_stored
from chromaseal.errors import ChromasealError, Conflict, Damaged, Unavailable
from chromaseal.parts import Parts
from chromaseal.pin import pinned, without_pin
from chromaseal.pools import pool
from chromaseal.run.model import Run, RunState
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.snapshot.cancellations import read_marks
from chromaseal.snapshot.history import head, line, missing_pointer
from chromaseal.snapshot.manifest import PastVersion
from chromaseal.sweep.plan import Contained, Holding, Plan, StoredDelta, plan_ledger
from chromaseal.telemetry.emit import carried

_ALL = 1_000_000
# What is looked for every so often is new: a long history is not read again each time.
_RECENT = 20_000
_READS_AT_ONCE = 8
_AT_ONCE = dt.timedelta()


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of a ledger; counts are of parts, one per run and collection.

    Attributes:
        added: parts that it did not know, by the state that they have.
        completed: parts that it thought open, and that a version has.
        waiting: parts that it thought done, and that no version has; they wait again.
        cancelled: parts that it thought open, and that are marked as cancelled.
        right: parts that it was right about.
        left: what could not be settled, with the reason.
        unreadable: why nobody knows what versions have, by collection.
    """

    added: Mapping[RunState, int] = field(default_factory=dict)
    completed: int = 0
    waiting: int = 0
    cancelled: int = 0
    right: int = 0
    left: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)


def sweep_ledger(
    parts: Parts,
    *,
    settled: dt.timedelta = _AT_ONCE,
    progress: StepProgress = no_step_progress,
) -> Swept:
    """Make or complete the ledger from what the vault holds.

    Args:
        parts: the vault, with a ledger that may be empty.
        settled: how old a run must be that the ledger does not know; a periodic sweep leaves
            those alone whose writers may be at work. It believes the ledger of all but the newest
            runs; those that no version has, and that it lacks or takes for done, are found however
            old they are.
        progress: called with a collection's name, and how many of its deltas were read, of how
            many.

    Raises:
        UsageError: ``no-ledger``.
        Unavailable: the store or the ledger did not answer; repeat it.
    """
    most = _RECENT if settled else _ALL
    known = parts.ledger.newest(limit=most)
    names = sorted({*pinned(parts.store), *without_pin(parts.store)})
    found = {name: _find(parts, name) for name in names}
    if settled and len(known) == most:
        lacking, undone = _lacking_and_undone(parts, frozenset(run.run_id for run in known), found)
        if undone:
            known = [*known, *undone]
            found = {name: _find(parts, name) for name in names}
        found = _only(found, {run.run_id for run in known} | lacking)
    by_id = {run.run_id: run for run in known}
    vault = {name: _holding(parts, name, found[name], by_id, progress) for name in names}
    plan = plan_ledger(known, vault, now=parts.clock.now(), settled=settled)
    added, foreign = _add(parts, plan)
    moved = _move(parts, plan)
    return Swept(
        added=added,
        completed=moved[RunState.COMPLETED],
        waiting=moved[RunState.PENDING],
        cancelled=moved[RunState.CANCELLED],
        right=plan.right,
        left=(*plan.left, *foreign),
        unreadable={name: each.unreadable for name, each in vault.items() if each.unreadable},
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What a vault has of one collection's runs, as far as that is told without reading deltas."""

    listed: Mapping[str, StoredDelta]
    cancelled: frozenset[str]
    contained: Mapping[str, Contained]
    unreadable: str


def _find(parts: Parts, name: str) -> _Found:
    # Deltas and marks before the history: a run that is merged in between is in both.
    listed = {
        named[1]: StoredDelta(info.key, info.size_bytes)
        for info in parts.store.list(keys.deltas(name))
        if (named := keys.parse_delta(info.key)) is not None
    }
    cancelled = read_marks(parts.store, name)
    try:
        return _Found(listed, cancelled, _contained(parts, name), "")
    except Damaged as error:
        return _Found(listed, cancelled, {}, error.message)


def _lacking_and_undone(
    parts: Parts, known: frozenset[str], found: Mapping[str, _Found]
) -> tuple[set[str], list[Run]]:
    """Give what there is to say of old runs: the ledger lacks them, or takes them for done.

    Args:
        parts: whose ledger is asked for each run that no version has; whoever was adding one to
            it when its deltas were listed has done so.
        known: the newest runs.
        found: by collection.
    """
    open_ = {
        name: each.listed.keys() - each.contained.keys() - known
        for name, each in found.items()
        if not each.unreadable
    }
    asked = {i: parts.ledger.get(i) for i in frozenset().union(*open_.values())}
    undone = [
        run
        for run in asked.values()
        if run is not None
        and any(
            part.state is RunState.COMPLETED and run.run_id in open_.get(name, ())
            for name, part in run.parts.items()
        )
    ]
    return {i for i, run in asked.items() if run is None}, undone


def _only(found: Mapping[str, _Found], run_ids: Container[str]) -> dict[str, _Found]:
    return {
        name: replace(
            each,
            listed={i: delta for i, delta in each.listed.items() if i in run_ids},
            contained={i: merged for i, merged in each.contained.items() if i in run_ids},
        )
        for name, each in found.items()
    }


def _holding(
    parts: Parts, name: str, found: _Found, known: Mapping[str, Run], progress: StepProgress
) -> Holding:
    unknown = [i for i in found.listed if i not in known or name not in known[i].parts]
    read = _read(parts, name, {i: found.listed[i] for i in unknown}, progress)
    # Of some garbage collection has taken the delta.
    taken = {i: StoredDelta(keys.delta(name, i, parts.codec.suffix)) for i in found.contained}
    stored = {**taken, **found.listed, **read}
    return Holding(stored, found.contained, found.cancelled, found.unreadable)


def _contained(parts: Parts, name: str) -> dict[str, Contained]:
    return {
        run_id: Contained(version.version_id, created_at, to_iso(version.created_at))
        for version in _past(parts, name)
        for run_id, created_at in version.runs
    }


def _past(parts: Parts, name: str) -> list[PastVersion]:
    newest = head(parts.store, name).version
    if newest is not None:
        return line(parts.store, newest)
    if next(iter(parts.store.list(keys.manifests(name))), None) is not None:
        # Either the pointer of a first version is lost, or its writer died as it was to move.
        raise missing_pointer(name)
    return []


def _read(
    parts: Parts, name: str, listed: Mapping[str, StoredDelta], progress: StepProgress
) -> dict[str, StoredDelta]:
    def read(item: tuple[str, StoredDelta]) -> tuple[str, StoredDelta]:
        return item[0], _with_header(parts, name, *item)

    found: dict[str, StoredDelta] = {}
    with pool(_READS_AT_ONCE) as reading:
        for run_id, delta in reading.map(carried(read), listed.items()):
            found[run_id] = delta
            progress(name, len(found), len(listed))
    return found


def _with_header(parts: Parts, name: str, run_id: str, stored: StoredDelta) -> StoredDelta:
    key, size_bytes = stored.key, stored.size_bytes
    try:
        delta, _ = read_stored(parts.store, parts.codec, key)
    except Unavailable:
        raise
    except ChromasealError as error:
        return StoredDelta(key, size_bytes, problem=error.message)
    header = delta.header
    if (header.run_id, header.collection) != (run_id, name):
        problem = f"the delta says that it is run {header.run_id} of {header.collection}"
        return StoredDelta(key, size_bytes, problem=problem)
    return StoredDelta(
        key,
        size_bytes,
        len(delta),
        header.created_at,
        dict(header.attributes),
        frozenset(header.collections),
    )


def _add(parts: Parts, plan: Plan) -> tuple[dict[RunState, int], list[str]]:
    added: list[Run] = []
    left: list[str] = []
    for run in plan.add:
        try:
            added += [run] if parts.ledger.add(run) else []
        except Conflict as error:
            if error.kind != "foreign-run":
                raise
            # Another program has it in its table, or has merged it; that stops no other run.
            left.append(error.message)
    states = Counter(part.state for run in added for part in run.parts.values())
    return {state: states[state] for state in RunState if states[state]}, left


def _move(parts: Parts, plan: Plan) -> Counter[RunState]:
    moved: Counter[RunState] = Counter()
    for move in plan.moves:
        moved[move.to] += parts.ledger.move(
            [move.run_id],
            move.collection,
            states=[move.state],
            to=move.to,
            at=to_iso(parts.clock.now()),
            version_id=move.version_id,
            error=move.error,
        )
    return moved
