"""The job "verify": a sealed directory -> findings, record count and multiset hash."""

from __future__ import annotations

import time
from collections.abc import Iterator
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
        request: ``directory``; ``collection``, which must be in it; ``space``, how that must
            measure distance, if it is not empty.
        progress: not used; a check of 160 MB takes about a second.

    Returns:
        ``findings`` (each ``check``, ``passed``, ``evidence``, ``duration_s``) and, if all
        passed, ``count`` and ``multiset`` of the collection.
    """
    del progress
    start = time.perf_counter()
    anatomy = inspect(Path(request["directory"]))
    collections = {c.name: c for c in anatomy.collections}
    findings = [_plain(Finding("opened", passed=True, evidence="read only"), start)]
    findings.extend(_timed(check_database(anatomy)))
    for collection in anatomy.collections:
        findings.extend(_timed(check_collection(collection)))
    wanted = collections.get(request["collection"])
    if wanted is None:
        evidence = f"no {request['collection']}, only {', '.join(collections) or 'nothing'}"
        findings.append(_plain(Finding("collection", passed=False, evidence=evidence), start))
    elif request["space"]:
        right = wanted.space == request["space"]
        evidence = f"{wanted.space}, pinned to {request['space']}"
        findings.append(_plain(Finding("space", passed=right, evidence=evidence), start))
    if wanted is None or not all(f["passed"] for f in findings):
        return {"findings": findings, "count": 0, "multiset": ""}
    return {"findings": findings, "count": len(wanted.rows), "multiset": _multiset(wanted)}


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
