"""A collection's runs in the ledger, its deltas and its history -> where they contradict."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from chromaseal import keys
from chromaseal.clock import from_iso
from chromaseal.errors import UsageError
from chromaseal.parts import Parts
from chromaseal.run.model import Run, RunState
from chromaseal.snapshot.manifest import PastVersion
from chromaseal.verification.remark import Remark, well, wrong

_ALL = 1_000_000
_NAMED = 3
_LONG = dt.timedelta(hours=1)


def examine_ledger(parts: Parts, collection: str, past: Sequence[PastVersion]) -> Iterator[Remark]:
    """Compare the ledger with the vault, which is right where they differ.

    Args:
        parts: the vault.
        collection: whose runs.
        past: every version, oldest first.
    """
    try:
        runs = parts.ledger.newest(collection=collection, limit=_ALL)
    except UsageError as error:
        yield well(collection, "ledger", error.message, "")
        return
    merged = {run_id for version in past for run_id, _ in version.runs}
    by_state = {
        state: [r for r in runs if r.parts[collection].state is state] for state in RunState
    }
    yield from _failed(collection, by_state[RunState.FAILED])
    yield from _behind(parts, collection, runs, merged)
    yield from _lost(collection, by_state[RunState.COMPLETED], merged)
    yield from _unannounced(parts, collection, {run.run_id for run in runs}, merged)
    counts = ", ".join(f"{len(found)} {state}" for state, found in by_state.items() if found)
    yield well(collection, "ledger", counts or "no runs")


def _failed(collection: str, failed: Sequence[Run]) -> Iterator[Remark]:
    for run in failed:
        evidence = f"run {run.run_id} was set aside: {run.parts[collection].error}"
        yield wrong(
            collection, "runs", evidence, f"chromaseal runs retry {run.run_id}, or leave it"
        )


def _behind(
    parts: Parts, collection: str, runs: Sequence[Run], merged: set[str]
) -> Iterator[Remark]:
    waiting = [
        run for run in runs if run.parts[collection].state in {RunState.PENDING, RunState.MERGING}
    ]
    told = [run for run in waiting if run.run_id in merged]
    if told:
        evidence = f"{_names(told)} in a version already, and the ledger was not told"
        yield wrong(collection, "runs", evidence, f"chromaseal compact {collection}")
    now = parts.clock.now()
    late = [r for r in waiting if r not in told and now - from_iso(r.created_at) > _LONG]
    if late:
        evidence = f"{_names(late)} waiting for more than an hour"
        reasons = {r.parts[collection].error for r in late} - {""}
        if reasons:
            evidence += f": {'; '.join(sorted(reasons))}"
        yield wrong(collection, "runs", evidence, f"chromaseal compact {collection}")


def _lost(collection: str, completed: Sequence[Run], merged: set[str]) -> Iterator[Remark]:
    lost = [run for run in completed if run.run_id not in merged]
    if lost:
        evidence = f"{_names(lost)} COMPLETED in the ledger and in no version"
        yield wrong(collection, "runs", evidence, f"chromaseal repair {collection}")


def _unannounced(
    parts: Parts, collection: str, known: set[str], merged: set[str]
) -> Iterator[Remark]:
    found = (keys.parse_delta(info.key) for info in parts.store.list(keys.deltas(collection)))
    stored = {parsed[1] for parsed in found if parsed is not None}
    silent = sorted(stored - known - merged)
    if silent:
        evidence = f"{len(silent)} deltas that no run announces: {', '.join(silent[:_NAMED])}"
        mend = "write them again with the same run id; what is stored is taken over"
        yield wrong(collection, "deltas", evidence, mend)


def _names(runs: Sequence[Run]) -> str:
    named = ", ".join(run.run_id for run in runs[:_NAMED])
    rest = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return f"{'run' if len(runs) == 1 else 'runs'} {named}{rest}"
