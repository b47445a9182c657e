"""Deltas that producers of the existing pipeline left in its bucket -> runs of this vault.

A delta there is a small ChromaDB directory. Its records are read without ChromaDB, in a child,
and written as this vault's own delta under the same run id; from there on it is a run like any
other, with every check, order and repair that those have. Nothing in the bucket is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chromaseal.delta.model import Changes, Delta
from chromaseal.errors import ChromasealError, Damaged
from chromaseal.legacy.bucket import LegacyBucket
from chromaseal.legacy.importing import equipment_of
from chromaseal.parts import Parts
from chromaseal.repair.directory import repair_directory
from chromaseal.run.model import ADOPTED_FROM
from chromaseal.sandbox import Plain, limits_for
from chromaseal.writing import Writing

ADOPTED, KNOWN, CONTAINED, REFUSED = "adopted", "known", "contained", "refused"
# The pipeline says that it has merged the run, and the snapshot does not have its records.
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class LegacyRun:
    """A run as the existing pipeline has it.

    Attributes:
        run_id: its id, there and here.
        prefixes: where its deltas are, by collection; those only that wait to be merged.
        created_at: ISO 8601 with a zone; empty where nobody knows.
        image_id: of its receipt; empty where its records are to tell.
        receipt_id: the same.
    """

    run_id: str
    prefixes: Mapping[str, str]
    created_at: str = ""
    image_id: str = ""
    receipt_id: str = ""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What became of one.

    Attributes:
        run_id: its id.
        status: ``adopted``, ``known`` (it is a run of the vault already), ``contained`` (its
            records are in the version that was imported), ``missing`` (they should be) or
            ``refused``.
        records: how many, by collection.
        error: why it was refused; None otherwise.
    """

    run_id: str
    status: str
    records: Mapping[str, int] = field(default_factory=dict)
    error: ChromasealError | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """A delta's records, and what the directory says of them."""

    delta: Delta
    facts: Plain


def adopt(
    parts: Parts,
    bucket: LegacyBucket,
    run: LegacyRun,
    *,
    merged_into: Mapping[str, Path] | None = None,
) -> Adopted:
    """Make a run of this vault of one of the existing pipeline; doing it again changes nothing.

    Args:
        parts: what the vault consists of.
        bucket: where its deltas are.
        run: which.
        merged_into: a directory by collection: a delta all of whose records are there is taken to
            be merged, as the pipeline itself does. By default none is.

    Raises:
        Unavailable: the bucket, the vault's store or its ledger did not answer.
    """
    if parts.ledger.get(run.run_id) is not None:
        return Adopted(run.run_id, KNOWN)
    found = _read_all(parts, bucket, run, merged_into or {})
    left = {name: each for name, each in found.items() if not each.facts["merged"]}
    records = {name: len(each.delta.upserts) for name, each in found.items()}
    if not left:
        return Adopted(run.run_id, CONTAINED, records)
    written = Writing(parts).write(
        {name: _changes(each.delta) for name, each in left.items()},
        model=None,
        run_id=run.run_id,
        attributes=_attributes(bucket, run, left),
        space=next(iter(left.values())).facts["space"],
        stored_wins=True,
        created_at=run.created_at or max(each.facts["created_at"] for each in left.values()),
    )
    return Adopted(run.run_id, ADOPTED if written.new else KNOWN, records)


def check_merged(
    parts: Parts, bucket: LegacyBucket, run: LegacyRun, merged_into: Mapping[str, Path]
) -> Adopted:
    """Look whether what the pipeline says to be merged is there, as far as its deltas are.

    Args:
        parts: what the vault consists of.
        bucket: where the deltas are.
        run: with the collections that are said to have it.
        merged_into: a directory by collection, at least for these.

    Raises:
        NotFound: ``no-delta``, it has expired.
        ChromasealError: see ``adopt``.
    """
    if parts.ledger.get(run.run_id) is not None:
        return Adopted(run.run_id, KNOWN)
    found = _read_all(parts, bucket, run, merged_into)
    missing = {n: len(each.delta.upserts) for n, each in found.items() if not each.facts["merged"]}
    return Adopted(run.run_id, MISSING if missing else CONTAINED, missing)


def _read_all(
    parts: Parts, bucket: LegacyBucket, run: LegacyRun, merged_into: Mapping[str, Path]
) -> dict[str, _Read]:
    found: dict[str, _Read] = {}
    with parts.checkouts.workspace() as workspace:
        for name in sorted(run.prefixes):
            scratch = workspace / name
            scratch.mkdir()
            there = merged_into.get(name)
            found[name] = _read(parts, bucket, run, name, scratch, merged_into=there)
    return found


def _read(
    parts: Parts,
    bucket: LegacyBucket,
    run: LegacyRun,
    name: str,
    scratch: Path,
    *,
    merged_into: Path | None,
) -> _Read:
    directory, target, prefix = scratch / "directory", scratch / "delta", run.prefixes[name]
    fetched = bucket.fetch_delta(prefix, directory, scratch)
    request = {
        "directory": str(directory),
        "collection": name,
        "target": str(target),
        "merged_into": str(merged_into or ""),
    }
    limits = limits_for(fetched.size_bytes)
    try:
        facts = parts.sandbox.run("read-delta", request, limits=limits)
    except Damaged as first:
        # A writer that died, or a copy of a directory that was open: what is left may do.
        try:
            repair_directory(directory, equipment_of(parts))
            facts = parts.sandbox.run("read-delta", request, limits=limits)
        except Damaged as error:
            what = f"the delta {prefix} of run {run.run_id}"
            message = error.message.replace(str(directory), what)
            raise Damaged(
                f"{what} cannot be read: {message}",
                kind=error.kind,
                hint="have the receipt embedded again",
            ) from first
    return _Read(parts.codec.decode(target.read_bytes()), facts)


def _changes(delta: Delta) -> Changes:
    return Changes(upserts=[delta.upserts.record(n) for n in range(len(delta.upserts))])


def _attributes(bucket: LegacyBucket, run: LegacyRun, found: Mapping[str, _Read]) -> dict[str, str]:
    image_id, receipt_id = run.image_id, run.receipt_id
    receipts = {tuple(r) for each in found.values() for r in each.facts["receipts"]}
    if not image_id and len(receipts) == 1:
        ((image_id, receipt_id),) = receipts
    prefixes = ", ".join(run.prefixes[name] for name in sorted(found))
    named = {ADOPTED_FROM: f"{bucket.url}: {prefixes}"}
    return named | ({"image_id": image_id, "receipt_id": receipt_id} if image_id else {})


def runs_in(bucket: LegacyBucket) -> tuple[list[LegacyRun], list[str]]:
    """Find runs by their deltas alone, where nothing else tells of them.

    Only for when no producer is at work: nothing here tells a delta that is complete from one
    that is being uploaded.

    Returns:
        The runs, and the ids of those that have more than one delta for a collection.
    """
    found: dict[str, dict[str, set[str]]] = {}
    for name in bucket.collections():
        for place in bucket.deltas(name):
            found.setdefault(place.run_id, {}).setdefault(name, set()).add(place.prefix)
    doubtful = [i for i, by_name in found.items() if any(len(p) > 1 for p in by_name.values())]
    runs = [
        LegacyRun(run_id, {name: min(prefixes) for name, prefixes in by_name.items()})
        for run_id, by_name in sorted(found.items())
        if run_id not in doubtful
    ]
    return runs, sorted(doubtful)
