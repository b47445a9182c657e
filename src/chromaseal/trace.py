"""What happened to a run, step by step, as plain data that a vault can tell without any log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chromaseal.digests import blake3_hex
from chromaseal.errors import NotFound
from chromaseal.object_store import ObjectStore
from chromaseal.run.model import Run, RunPart
from chromaseal.snapshot.find import load_kept
from chromaseal.snapshot.manifest import Version


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One step on the way from an image to a version.

    Attributes:
        step: its name.
        at: when it ended, UTC, ISO 8601; empty if that was not noted.
        duration_s: how long it took; None if that was not noted.
        size_bytes: of what it left behind; None where it left nothing.
        digest: BLAKE3 of what it left behind; empty where it left nothing.
        detail: what was done, found or checked.
    """

    step: str
    at: str
    duration_s: float | None
    size_bytes: int | None
    digest: str
    detail: str


def trace_run(store: ObjectStore, run: Run) -> list[TraceStep]:
    """Tell every step of a run, from its deltas to the versions that merged it."""
    return [
        step for name, part in run.parts.items() for step in _trace_part(store, run, name, part)
    ]


def _trace_part(
    store: ObjectStore, run: Run, collection: str, part: RunPart
) -> Iterator[TraceStep]:
    try:
        digest = blake3_hex(store.get(part.delta_key).body)
        stored = "stored once as"
    except NotFound:
        digest, stored = "", "no longer in the vault:"
    yield TraceStep(
        step=f"{collection}: delta",
        at=run.created_at,
        duration_s=None,
        size_bytes=part.size_bytes,
        digest=digest,
        detail=f"{part.changes} changes, {stored} {part.delta_key}",
    )
    yield TraceStep(
        step=f"{collection}: run",
        at=part.finished_at or part.started_at or run.created_at,
        duration_s=None,
        size_bytes=None,
        digest="",
        detail=f"{part.state}, {part.attempts} {'attempt' if part.attempts == 1 else 'attempts'}"
        + (part.error and f": {part.error}"),
    )
    if part.version_id:
        yield from _trace_merge(store, collection, part.version_id)


def _trace_merge(store: ObjectStore, collection: str, version_id: str) -> Iterator[TraceStep]:
    try:
        version = load_kept(store, collection, version_id)
    except NotFound:
        yield TraceStep(
            step=f"{collection}: version",
            at="",
            duration_s=None,
            size_bytes=None,
            digest="",
            detail=f"{version_id}, removed since",
        )
    else:
        yield from _trace_version(version)


def _trace_version(version: Version) -> Iterator[TraceStep]:
    manifest = version.manifest
    yield TraceStep(
        step=f"{manifest.collection}: version {manifest.number}",
        at=manifest.created_at,
        duration_s=None,
        size_bytes=manifest.size_bytes,
        digest=version.digest,
        detail=f"{version.version_id}, {manifest.records.count} records, "
        f"{len(manifest.runs)} runs merged",
    )
    for check in manifest.checks:
        yield TraceStep(
            step=f"{manifest.collection}: checked {check.name}",
            at=manifest.created_at,
            duration_s=check.duration_s,
            size_bytes=None,
            digest="",
            detail=check.evidence,
        )
