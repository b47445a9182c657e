"""A run as plain data: which deltas it brings, and how far each is on its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class RunState(StrEnum):
    """Where one collection's part of a run stands.

    PENDING -> MERGING -> COMPLETED or FAILED; a part that could not be merged this time goes
    back to PENDING, and ``retry`` brings FAILED back there. ``cancel`` brings all but COMPLETED
    to CANCELLED, and ``retry`` from there to PENDING. A version that contains the run
    makes it COMPLETED, whatever the ledger said before: the manifest is the truth.
    """

    PENDING = "PENDING"
    MERGING = "MERGING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


# Of a part that is to come into a version, and that no version has yet.
WAITING_STATES = (RunState.PENDING, RunState.MERGING)

# The attribute of a run that another program wrote: where its deltas were.
ADOPTED_FROM = "adopted_from"


@dataclass(frozen=True, slots=True)
class RunPart:
    """One collection's part of a run.

    Attributes:
        state: where it stands.
        delta_key: the object that holds its changes.
        size_bytes: of that object.
        changes: upserts, updates and deletes in it.
        attempts: merges begun.
        version_id: the version that contains it; empty before.
        error: why it failed or went back; empty otherwise.
        started_at: ISO time of the last merge's begin; empty before.
        finished_at: ISO time of COMPLETED, FAILED or CANCELLED; empty before.
    """

    state: RunState
    delta_key: str
    size_bytes: int
    changes: int
    attempts: int = 0
    version_id: str = ""
    error: str = ""
    started_at: str = ""
    finished_at: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One COMPACTION_RUN.

    Attributes:
        run_id: unique for ever.
        created_at: UTC, ISO 8601 with microseconds.
        parts: by collection.
        attributes: what its writer wants remembered, for example ``image_id``.
    """

    run_id: str
    created_at: str
    parts: Mapping[str, RunPart]
    attributes: Mapping[str, str]


def moved(part: RunPart, *, to: RunState, at: str, version_id: str, error: str) -> RunPart:
    """Give a part as it is in another state; see ``Ledger.move``.

    Args:
        part: as it was.
        to: the state.
        at: when, ISO time.
        version_id: the version that contains it; empty for none.
        error: why; empty for nothing to say.
    """
    is_begun = to is RunState.MERGING
    return replace(
        part,
        state=to,
        attempts=part.attempts + is_begun,
        started_at=at if is_begun else part.started_at,
        finished_at="" if is_begun or to is RunState.PENDING else at,
        version_id=version_id,
        error=error,
    )
