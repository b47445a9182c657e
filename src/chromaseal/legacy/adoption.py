"""Runs of the existing pipeline, one after the other -> what became of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from chromaseal.errors import ChromasealError, Unavailable
from chromaseal.legacy.bucket import LegacyBucket
from chromaseal.legacy.deltas import (
    MISSING,
    REFUSED,
    Adopted,
    LegacyRun,
    adopt,
    check_merged,
)
from chromaseal.parts import Parts
from chromaseal.snapshot.manifest import Version
from chromaseal.telemetry.emit import step


def adopt_runs(
    parts: Parts,
    bucket: LegacyBucket,
    runs: Sequence[LegacyRun],
    *,
    merged_into: Mapping[str, Path] | None = None,
) -> Iterator[Adopted]:
    """Make runs of the vault of the existing pipeline's; give what became of each.

    One that cannot be read stops no other.

    Raises:
        Unavailable: bucket, store or ledger did not answer.
    """
    for run in runs:
        with step("adopt run", run_id=run.run_id):
            try:
                done = adopt(parts, bucket, run, merged_into=merged_into)
            except Unavailable:
                raise
            except ChromasealError as error:
                done = Adopted(run.run_id, REFUSED, error=error)
        yield done


def check_runs(
    parts: Parts,
    bucket: LegacyBucket,
    runs: Sequence[LegacyRun],
    merged_into: Mapping[str, Path],
) -> Iterator[Adopted]:
    """Look whether snapshots have what the pipeline says to be merged; give those that miss some.

    What of a run has expired, or cannot be read, tells nothing.

    Raises:
        Unavailable: bucket, store or ledger did not answer.
    """
    for run in runs:
        prefixes = {n: prefix for n, prefix in run.prefixes.items() if n in merged_into}
        try:
            done = check_merged(parts, bucket, replace(run, prefixes=prefixes), merged_into)
        except Unavailable:
            raise
        except ChromasealError:
            continue
        if done.status == MISSING:
            yield done


@contextmanager
def directories_of(parts: Parts, versions: Sequence[Version]) -> Iterator[dict[str, Path]]:
    """Give private copies of versions, by collection, until the block ends."""
    with parts.checkouts.workspace() as workspace:
        found: dict[str, Path] = {}
        for version in versions:
            name = version.manifest.collection
            found[name] = workspace / name
            parts.checkouts.copy(version, found[name])
        yield found
