"""A version of a collection -> a verdict, from its objects alone.

Nothing that is kept on this machine counts: what is looked at was fetched for this very look, with
every digest on the way.
"""

from __future__ import annotations

from collections.abc import Iterator

from chromaseal import keys, pools
from chromaseal.errors import Damaged, NotFound
from chromaseal.object_store import ObjectStore
from chromaseal.parts import Parts
from chromaseal.pin import CollectionPin, read_pin
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.seal.examine import Wanted, examine
from chromaseal.seal.telling import tell_check
from chromaseal.seal.verdict import Finding, Level, Verdict
from chromaseal.snapshot.manifest import Manifest, Version
from chromaseal.telemetry.emit import carried

_HEADS_AT_ONCE = 8


def verify_version(
    parts: Parts, version: Version, level: Level, *, progress: StepProgress = no_step_progress
) -> Verdict:
    """Look at a version.

    Args:
        parts: the vault.
        version: which one; its manifest hangs on the pointer by digest.
        level: how closely: ``presence`` asks the store for the sizes of its objects, ``quick``
            and ``deep`` fetch them all and look at the directory that they make.
        progress: called with the step, and how much of it is done, of how much.

    Raises:
        Unavailable: the store did not answer.
    """
    start_s = parts.clock.monotonic_s()
    manifest = version.manifest
    progress("look for objects", 0, 0)
    pin = read_pin(parts.store, manifest.collection)
    findings = [*_objects(parts.store, manifest), *check_pinned(manifest, pin)]
    for finding in findings:
        tell_check(finding)
    if level is not Level.PRESENCE and all(finding.passed for finding in findings):
        findings += _content(parts, version, level, pin, progress)
    subject = f"{manifest.collection}, version {manifest.number} ({version.version_id})"
    size_bytes = manifest.chain_bytes if level is Level.PRESENCE else manifest.size_bytes
    duration_s = parts.clock.monotonic_s() - start_s
    return Verdict(subject, level, tuple(findings), size_bytes, duration_s)


def check_pinned(manifest: Manifest, pin: CollectionPin | None) -> Iterator[Finding]:
    """Compare what a version says of itself with what its collection is pinned to."""
    if pin is None:
        yield Finding(
            "pin", passed=False, evidence=f"{keys.collection(manifest.collection)} is missing"
        )
        return
    found = next((c for c in manifest.collections if c.name == pin.name), None)
    dimension = f"{pin.dimension} dimensions" if pin.dimension else "any dimension"
    said = f"{dimension}, {pin.space}, {pin.model or 'no model named'}"
    if found is None:
        # A directory that was pushed may have collections of any name.
        yield Finding("pin", manifest.model == pin.model, said)
        return
    dimensions = {found.dimension or 0, pin.dimension} - {0}
    same = (len(dimensions) < 2, found.space, manifest.model) == (  # noqa: PLR2004 - they differ
        True,
        pin.space,
        pin.model,
    )
    evidence = (
        said
        if same
        else (
            f"pinned to {said}; it has {found.dimension} dimensions, {found.space}, "
            f"{manifest.model or 'no model named'}"
        )
    )
    yield Finding("pin", same, evidence)


def objects_of(manifest: Manifest) -> dict[str, int]:
    """Give the size of every object that a version reaches, by key."""
    layers = [*manifest.layers, *([manifest.step] if manifest.step else [])]
    parts = {
        keys.layer_part(manifest.collection, layer.layer_id, number): part.size_bytes
        for layer in layers
        for number, part in enumerate(layer.parts)
    }
    pages = {
        keys.history_page(manifest.collection, page.page_id): page.size_bytes
        for page in manifest.pages
    }
    return {**parts, **pages}


def _objects(store: ObjectStore, manifest: Manifest) -> Iterator[Finding]:
    wanted = objects_of(manifest)
    with pools.pool(_HEADS_AT_ONCE) as pool:
        found = dict(zip(wanted, pool.map(carried(store.head), wanted), strict=True))
    missing = [key for key, info in found.items() if info is None]
    wrong = [
        f"{key} has {info.size_bytes} bytes instead of {wanted[key]}"
        for key, info in found.items()
        if info is not None and info.size_bytes != wanted[key]
    ]
    problems = [f"{key} is missing" for key in missing] + wrong
    evidence = "; ".join(problems) or f"{len(wanted)} objects, {sum(wanted.values())} bytes"
    yield Finding("objects", not problems, evidence)


def _content(
    parts: Parts,
    version: Version,
    level: Level,
    pin: CollectionPin | None,
    progress: StepProgress,
) -> list[Finding]:
    start_s = parts.clock.monotonic_s()
    with parts.checkouts.workspace() as workspace:
        directory = workspace / "directory"
        try:
            parts.checkouts.fetch_fresh(
                version, directory, progress=lambda done, total: progress("fetch", done, total)
            )
        except (Damaged, NotFound) as error:
            refused = Finding("digests", passed=False, evidence=error.message)
            tell_check(refused)
            return [refused]
        fetched_s = parts.clock.monotonic_s() - start_s
        size = version.manifest.size_bytes
        fetched = Finding("digests", passed=True, evidence=f"{size} bytes", duration_s=fetched_s)
        tell_check(fetched)
        verdict = examine(
            directory,
            level,
            sandbox=parts.sandbox,
            open_files=parts.open_files,
            clock=parts.clock,
            wanted=_wanted(version.manifest, pin),
            scratch=workspace,
            progress=progress,
        )
        return [fetched, *verdict.findings]


def _wanted(manifest: Manifest, pin: CollectionPin | None) -> Wanted:
    names = {collection.name for collection in manifest.collections}
    named = pin is not None and pin.name in names
    return Wanted(
        collection=pin.name if pin and named else "",
        space=pin.space if pin and named else "",
        records=manifest.records,
    )
