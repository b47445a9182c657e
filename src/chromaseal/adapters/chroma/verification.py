"""The job "verify": a sealed directory -> findings, record count and multiset hash."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from chromaseal import multiset
from chromaseal.adapters.chroma.inspector import inspect, look_deep
from chromaseal.record import record_digest
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.anatomy import CollectionAnatomy, DirectoryAnatomy
from chromaseal.seal.checks import check_collection, check_database, check_deep, records
from chromaseal.seal.verdict import Finding


def run(request: Plain, progress: Progress) -> Plain:
    """Check a directory.

    Args:
        request: ``directory``; ``deep``, whether to look at every value; ``collection``, which
            must be in it if it is not empty; ``space``, how that must measure distance, if it is
            not empty; ``scratch``, a directory for copies, if it looks at every value. This
            process may be killed, so whoever asks removes it.
        progress: not used; a thorough check of 160 MB takes a few seconds.

    Returns:
        ``findings`` (each ``check``, ``passed``, ``evidence``, ``duration_s``) and, if it looked
        at every value and all passed, ``collections`` (each ``name``, ``count``, ``multiset``,
        ``dimension``, ``space``).
    """
    del progress
    directory = Path(request["directory"])
    if not request["deep"]:
        return {"findings": _structure(directory, request)[0], "collections": []}
    # SQLite checks itself without the interpreter's lock, so everything else goes on meanwhile.
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(_look_deep, directory, Path(request["scratch"]))
        findings, anatomy = _structure(directory, request)
        collections = [_summary(each) for each in anatomy.collections] if _all(findings) else []
        findings += checked.result()
    return {"findings": findings, "collections": collections if _all(findings) else []}


def _structure(directory: Path, request: Plain) -> tuple[list[Plain], DirectoryAnatomy]:
    start, deep = time.perf_counter(), request["deep"]
    anatomy = inspect(directory, deep=deep)
    findings = [
        Finding("opened", passed=True, evidence="read only").plain(time.perf_counter() - start)
    ]
    findings.extend(_timed(check_database(anatomy)))
    for collection in anatomy.collections:
        found = check_collection(collection, deep=deep)
        if len(anatomy.collections) > 1:
            found = _named(collection.name, found)
        findings.extend(_timed(found))
    start = time.perf_counter()
    collections = {each.name: each for each in anatomy.collections}
    findings += [
        finding.plain(time.perf_counter() - start) for finding in _wanted(collections, request)
    ]
    return findings, anatomy


def _look_deep(directory: Path, scratch: Path) -> list[Plain]:
    start = time.perf_counter()
    first, *others = check_deep(look_deep(directory, scratch))
    return [first.plain(time.perf_counter() - start), *_timed(iter(others))]


def _all(findings: list[Plain]) -> bool:
    return all(finding["passed"] for finding in findings)


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


def _named(collection: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Say of which collection each is, where a directory has several."""
    return (replace(each, evidence=f"{collection}: {each.evidence}") for each in findings)


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
        yield finding.plain(time.perf_counter() - start)
        start = time.perf_counter()


def _multiset(collection: CollectionAnatomy) -> str:
    # ChromaDB normalises the vectors of a cosine collection, so what was written is not
    # what is stored.
    with_embedding = collection.space != "cosine"
    return multiset.of_digests(
        record_digest(record, with_embedding=with_embedding) for record in records(collection)
    ).to_text()
