"""A run's deltas -> a verdict: stored as the ledger says, readable, admissible, merged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chromaseal.compaction.deltas import read_delta
from chromaseal.errors import ChromasealError, Unavailable
from chromaseal.parts import Parts
from chromaseal.pin import read_pin
from chromaseal.run.model import Run, RunPart, RunState
from chromaseal.seal.telling import tell_check
from chromaseal.seal.verdict import Finding, Level, Verdict
from chromaseal.snapshot.history import head, line


def verify_deltas(parts: Parts, run: Run, level: Level) -> Verdict:
    """Look at what a run stored.

    Args:
        parts: the vault.
        run: whose deltas.
        level: how closely: ``presence`` asks for sizes; ``quick`` reads the deltas and checks all
            that merging them asks for; ``deep`` compares the ledger with the history as well.

    Raises:
        Unavailable: the store did not answer.
    """
    start_s = parts.clock.monotonic_s()
    findings = [
        replace(finding, check=f"{name}: {finding.check}")
        for name, part in run.parts.items()
        for finding in _part(parts, run, name, part, level)
    ]
    for finding in findings:
        tell_check(finding)
    size_bytes = sum(part.size_bytes for part in run.parts.values())
    duration_s = parts.clock.monotonic_s() - start_s
    return Verdict(f"run {run.run_id}", level, tuple(findings), size_bytes, duration_s)


def _part(
    parts: Parts, run: Run, collection: str, part: RunPart, level: Level
) -> Iterator[Finding]:
    info = parts.store.head(part.delta_key)
    there = info is not None and info.size_bytes == part.size_bytes
    evidence = f"{part.delta_key}, {part.size_bytes} bytes"
    if info is None:
        evidence = f"{part.delta_key} is missing"
    elif not there:
        evidence = f"{part.delta_key} has {info.size_bytes} bytes instead of {part.size_bytes}"
    yield Finding("stored", there, evidence)
    if level is Level.PRESENCE or info is None:
        return
    yield _readable(parts, run, collection, part)
    if level is Level.DEEP:
        yield _merged(parts, run, collection, part)


def _readable(parts: Parts, run: Run, collection: str, part: RunPart) -> Finding:
    pin = read_pin(parts.store, collection)
    if pin is None:
        return Finding("readable", passed=False, evidence=f"{collection} has no pin")
    start_s = parts.clock.monotonic_s()
    try:
        delta, _ = read_delta(parts.store, parts.codec, run, pin)
    except Unavailable:
        raise
    except ChromasealError as error:
        return Finding("readable", passed=False, evidence=error.message)
    passed = len(delta) == part.changes
    evidence = (
        f"{len(delta.upserts)} upserts, {len(delta.updates)} updates, {len(delta.deletes)} deletes"
    )
    if not passed:
        evidence += f", {part.changes} changes expected"
    return Finding("readable", passed, evidence, parts.clock.monotonic_s() - start_s)


def _merged(parts: Parts, run: Run, collection: str, part: RunPart) -> Finding:
    """Compare the ledger with the truth: which version has the run."""
    newest = head(parts.store, collection).version
    past = line(parts.store, newest) if newest else []
    having = [p.number for p in past if run.run_id in {run_id for run_id, _ in p.runs}]
    evidence = f"{part.state}"
    if part.error:
        evidence += f": {part.error}"
    if having:
        evidence += f", in version {', '.join(map(str, having))}"
    passed = len(having) == (1 if part.state is RunState.COMPLETED else 0) and (
        part.state is not RunState.FAILED
    )
    return Finding("merged", passed, evidence)
