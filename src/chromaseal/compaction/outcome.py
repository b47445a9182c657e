"""What became of a collection's waiting runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from chromaseal.delta.model import Delta
from chromaseal.errors import ChromasealError, Conflict, Damaged, Interrupted
from chromaseal.snapshot.manifest import Version


class MergeFailedError(Exception):
    """The deltas of some runs could not be merged into a verified directory.

    Attributes:
        run_ids: whose.
        cause: what went wrong.
    """

    def __init__(self, run_ids: tuple[str, ...], cause: ChromasealError) -> None:
        super().__init__(cause.message)
        self.run_ids = run_ids
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Compaction:
    """What became of a collection's waiting runs.

    Attributes:
        collection: which one.
        version: the new version; None if there was nothing to merge.
        merged: runs that it brought in.
        contained: runs that an earlier version had already.
        failed: why, by run id, for the runs that cannot be merged.
        lost_races: how often another compactor was first.
        durations_s: seconds by step of the attempt that succeeded.
    """

    collection: str
    version: Version | None = None
    merged: tuple[str, ...] = ()
    contained: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    lost_races: int = 0
    durations_s: Mapping[str, float] = field(default_factory=dict)


def together(collection: str, done: Sequence[Compaction], failed: dict[str, str]) -> Compaction:
    """Tell of several batches as of one.

    Args:
        collection: which one.
        done: what became of each batch, in order.
        failed: why, by run id, for the runs of all of them that cannot be merged.
    """
    versions = [each.version for each in done if each.version is not None]
    durations_s: dict[str, float] = {}
    for each in done:
        for step, duration_s in each.durations_s.items():
            durations_s[step] = durations_s.get(step, 0.0) + duration_s
    return replace(
        Compaction(collection),
        version=versions[-1] if versions else None,
        merged=tuple(run_id for each in done for run_id in each.merged),
        contained=tuple(dict.fromkeys(run_id for each in done for run_id in each.contained)),
        failed=failed,
        lost_races=sum(each.lost_races for each in done),
        durations_s=durations_s,
    )


def may_be_rot(error: BaseException) -> bool:
    """Tell whether an error may come from a copy on this machine that has gone bad."""
    if isinstance(error, MergeFailedError):
        return may_be_rot(error.cause)
    changed = isinstance(error, Conflict) and error.kind == "changed-while-reading"
    return changed or isinstance(error, Damaged)


@contextmanager
def blamed_on(deltas: Sequence[Delta]) -> Iterator[None]:
    """Say of which runs it was that they could not be made a version of.

    Raises:
        MergeFailedError: for whatever it fails, but for a conflict or an interruption.
    """
    try:
        yield
    except (Conflict, Interrupted):
        # Somebody else is at it, or whoever asked wants no more of it: no delta is to blame.
        raise
    except ChromasealError as error:
        raise MergeFailedError(tuple(each.header.run_id for each in deltas), error) from error
