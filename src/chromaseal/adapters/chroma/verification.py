"""The job "verify": a sealed directory -> findings, record count and multiset hash."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from chromaseal import multiset
from chromaseal.adapters.chroma.inspector import inspect
from chromaseal.record import record_digest
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.anatomy import CollectionAnatomy
from chromaseal.seal.checks import Finding, check_collection, check_database, records


def run(request: Plain, progress: Progress) -> Plain:
    """Check a directory.

    Args:
        request: ``directory``; ``collection``, which must be in it if it is not empty; ``space``,
            how that must measure distance, if it is not empty.
        progress: not used; a check of 160 MB takes about a second.

    Returns:
        ``findings`` (each ``check``, ``passed``, ``evidence``, ``duration_s``) and, if all
        passed, ``collections`` (each ``name``, ``count``, ``multiset``, ``dimension``,
        ``space``).
    """
    del progress
    start = time.perf_counter()
    anatomy = inspect(Path(request["directory"]))
    collections = {c.name: c for c in anatomy.collections}
    findings = [_plain(Finding("opened", passed=True, evidence="read only"), start)]
    findings.extend(_timed(check_database(anatomy)))
    for collection in anatomy.collections:
        findings.extend(_timed(check_collection(collection)))
    findings += [_plain(finding, start) for finding in _wanted(collections, request)]
    passed = all(finding["passed"] for finding in findings)
    return {
        "findings": findings,
        "collections": [_summary(each) for each in anatomy.collections] if passed else [],
    }


def _wanted(collections: Mapping[str, CollectionAnatomy], request: Plain) -> Iterator[Finding]:
    name, space = request["collection"], request["space"]
    if not name:
        return
    found = collections.get(name)
    if found is None:
        evidence = f"no {name}, only {', '.join(collections) or 'nothing'}"
        yield Finding("collection", passed=False, evidence=evidence)
    elif space:
        evidence = f"{found.space}, pinned to {space}"
        yield Finding("space", passed=found.space == space, evidence=evidence)


def _summary(collection: CollectionAnatomy) -> Plain:
    return {
        "name": collection.name,
        "count": len(collection.rows),
        "multiset": _multiset(collection),
        "dimension": collection.dimension,
        "space": collection.space,
    }


def _timed(found: Iterator[Finding]) -> Iterator[Plain]:
    start = time.perf_counter()
    for finding in found:
        yield _plain(finding, start)
        start = time.perf_counter()


def _plain(finding: Finding, start: float) -> Plain:
    return {
        "check": finding.check,
        "passed": finding.passed,
        "evidence": finding.evidence,
        "duration_s": round(time.perf_counter() - start, 6),
    }


def _multiset(collection: CollectionAnatomy) -> str:
    # ChromaDB normalises the vectors of a cosine collection, so what was written is not
    # what is stored.
    with_embedding = collection.space != "cosine"
    return multiset.of_digests(
        record_digest(record, with_embedding=with_embedding) for record in records(collection)
    ).to_text()
