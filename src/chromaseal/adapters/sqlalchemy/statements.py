"""What the ledger asks and tells a database, in both dialects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, func, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from chromaseal.adapters.sqlalchemy.schema import attribute_digest, part, run, run_attribute
from chromaseal.run.model import Run, RunPart, RunState

_PART = (
    part.c.collection,
    part.c.state,
    part.c.delta_key,
    part.c.size_bytes,
    part.c.changes,
    part.c.attempts,
    part.c.version_id,
    part.c.error,
    part.c.started_at,
    part.c.finished_at,
)
# Greater than whatever may follow in a text.
_LAST_CHARACTER = "\U0010ffff"
_FINISHED = {RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED}


def runs_where(
    *conditions: ColumnElement[bool],
    order: Sequence[ColumnElement[str]],
    descending: bool = False,
    limit: int | None = None,
) -> Select[Any]:
    """Ask for runs with all their parts, in one query, a row per part.

    Args:
        conditions: on ``run``.
        order: columns of ``run``, the last of them unique.
        descending: the other way round.
        limit: how many runs at most.
    """
    turned = [column.desc() if descending else column for column in order]
    chosen = select(run).where(*conditions).order_by(*turned).limit(limit).subquery()
    again = [chosen.c[column.key or ""] for column in order]
    return (
        select(chosen.c.run_id, chosen.c.created_at, chosen.c.attributes, *_PART)
        .select_from(chosen.outerjoin(part, part.c.run_id == chosen.c.run_id))
        .order_by(*(column.desc() if descending else column for column in again), part.c.collection)
    )


def runs_of(rows: Iterable[Any]) -> list[Run]:
    """Put the rows of ``runs_where`` together."""
    found: dict[str, Run] = {}
    parts: dict[str, dict[str, RunPart]] = {}
    for run_id, created_at, attributes, collection, state, *rest in rows:
        if run_id not in found:
            parts[run_id] = {}
            found[run_id] = Run(run_id, created_at, parts[run_id], json.loads(attributes))
        if collection is not None:
            parts[run_id][collection] = RunPart(RunState(state), *rest)
    return list(found.values())


def starts_with(prefix: str) -> ColumnElement[bool]:
    """Choose runs by the beginning of their ids, through the index of ids."""
    return (run.c.run_id >= prefix) & (run.c.run_id <= prefix + _LAST_CHARACTER)


def has_part(*, collection: str = "", states: Sequence[RunState] = ()) -> ColumnElement[bool]:
    """Choose runs by what any of their parts is."""
    wanted = [part.c.collection == collection] if collection else []
    if states:
        wanted.append(part.c.state.in_(states))
    return run.c.run_id.in_(select(part.c.run_id).where(*wanted))


def has_attribute(name: str, value: str) -> ColumnElement[bool]:
    """Choose runs by an attribute."""
    digest = attribute_digest(name, value)
    return run.c.run_id.in_(select(run_attribute.c.run_id).where(run_attribute.c.digest == digest))


def run_values(new: Run) -> dict[str, str]:
    """Give the row of a run."""
    attributes = json.dumps(dict(new.attributes), sort_keys=True)
    return {"run_id": new.run_id, "created_at": new.created_at, "attributes": attributes}


def part_values(new: Run) -> list[dict[str, str | int]]:
    """Give the rows of a run's parts."""
    return [
        {
            "run_id": new.run_id,
            "collection": collection,
            "state": each.state.value,
            "delta_key": each.delta_key,
            "size_bytes": each.size_bytes,
            "changes": each.changes,
            "attempts": each.attempts,
            "version_id": each.version_id,
            "error": each.error,
            "started_at": each.started_at,
            "finished_at": each.finished_at,
        }
        for collection, each in new.parts.items()
    ]


def attribute_values(new: Run) -> list[dict[str, str]]:
    """Give the rows that a run is found by."""
    items = new.attributes.items()
    return [{"digest": attribute_digest(*item), "run_id": new.run_id} for item in items]


@cache
def parts_moved(to: RunState) -> ReturningUpdate[tuple[str]]:
    """Move parts, as ``Ledger.move`` says; a row for each that was moved.

    Rows are locked in the order of ids first, so that two that move the same runs wait for each
    other and never in a circle. The values are those of ``moved_values``.
    """
    movable = (
        part.c.collection == bindparam("of"),
        part.c.state.in_(bindparam("out_of", expanding=True)),
    )
    locked = (
        select(part.c.run_id)
        .where(*movable, part.c.run_id.in_(bindparam("run_ids", expanding=True)))
        .order_by(part.c.run_id)
        .with_for_update()
        .cte("locked")
    )
    changes: dict[str, Any] = {"state": to.value, "finished_at": ""}
    changes |= {"version_id": bindparam("version"), "error": bindparam("why")}
    if to is RunState.MERGING:
        changes |= {"attempts": part.c.attempts + 1, "started_at": bindparam("at")}
    if to in _FINISHED:
        changes["finished_at"] = bindparam("at")
    moving = update(part).where(*movable, part.c.run_id.in_(select(locked.c.run_id)))
    return moving.values(changes).returning(part.c.run_id)


def moved_values(
    collection: str,
    *,
    states: Iterable[RunState],
    to: RunState,
    at: str,
    version_id: str,
    error: str,
) -> dict[str, Any]:
    """Give what ``parts_moved`` asks for, but for the runs."""
    values = {
        "of": collection,
        "out_of": [state.value for state in states],
        "version": version_id,
        "why": error,
    }
    return values if to is RunState.PENDING else {**values, "at": at}


def counted(collection: str) -> Select[Any]:
    """Count the parts of a collection by state."""
    by_state = select(part.c.state, func.count()).where(part.c.collection == collection)
    return by_state.group_by(part.c.state)
