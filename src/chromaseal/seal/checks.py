"""The checks that a directory has to pass: anatomy -> verdicts with evidence.

A row count and a sample query prove nothing: ChromaDB answers normally over cut link lists,
finds a quarter of the records where the index is missing, and mixes two versions' files without
a word. So these compare structure with structure and set with set. They do not see a changed
value inside a vector or metadata, nor links of the index that lead to a wrong but existing
element; the digests of pages see both, and the multiset hash the former.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chromaseal.record import Record
from chromaseal.seal.anatomy import (
    CollectionAnatomy,
    DirectoryAnatomy,
    HnswIndex,
    LogEntry,
    LogOperation,
    Row,
)

# Newest migration by part of the schema; chromadb 0.5.23, 1.0.20 and 1.5.9.
KNOWN_SCHEMAS = (
    {"embeddings_queue": 2, "metadb": 4, "sysdb": 9},
    {"embeddings_queue": 2, "metadb": 5, "sysdb": 9},
    {"embeddings_queue": 2, "metadb": 6, "sysdb": 10},
)
_HNSW_VERSION = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says.

    Attributes:
        check: its name.
        passed: the verdict.
        evidence: what it is based on, in a few words.
    """

    check: str
    passed: bool
    evidence: str


def check_database(anatomy: DirectoryAnatomy) -> Iterator[Finding]:
    """Check what concerns the whole directory."""
    size = anatomy.page_size_bytes * anatomy.page_count
    yield Finding(
        "sqlite-size",
        size == anatomy.size_bytes,
        f"{anatomy.page_count} pages of {anatomy.page_size_bytes} bytes, "
        f"{anatomy.size_bytes} bytes on disk",
    )
    yield Finding(
        "sqlite-structure",
        anatomy.integrity_check == ("ok",),
        "; ".join(anatomy.integrity_check),
    )
    yield Finding("full-text", not anatomy.full_text_check, anatomy.full_text_check or "ok")
    yield Finding("no-journal", not anatomy.journals, ", ".join(anatomy.journals) or "none")
    yield Finding(
        "schema-known",
        anatomy.migrations in KNOWN_SCHEMAS,
        ", ".join(f"{part} {newest}" for part, newest in sorted(anatomy.migrations.items())),
    )


def check_collection(collection: CollectionAnatomy) -> Iterator[Finding]:
    """Check one collection's parts against each other."""
    yield from (check(collection) for check in _COLLECTION_CHECKS)


def _check_segment(collection: CollectionAnatomy) -> Finding:
    index, flushed = collection.index, collection.flushed_seq_id
    if index is None:
        return Finding("segment", not flushed, "never flushed" if not flushed else "missing")
    if index.problem:
        return Finding("segment", passed=False, evidence=index.problem)
    complete = index.id_to_label is not None if flushed else not index.count
    sizes = sum(index.file_sizes_bytes.values())
    return Finding("segment", complete, f"{len(index.file_sizes_bytes)} files, {sizes} bytes")


def _check_index(collection: CollectionAnatomy) -> Finding:
    index = collection.index
    if index is None or index.problem:
        return Finding("index-structure", index is None, index.problem if index else "none")
    links = index.file_sizes_bytes["link_lists.bin"]
    wrong = [
        name
        for name, right in (
            ("version", index.version == _HNSW_VERSION),
            ("link lists", index.links_end == links),
            ("neighbours", index.neighbours_ok),
            ("levels", index.levels_ok),
            ("labels", len(np.unique(index.labels)) == index.count),
        )
        if not right
    ]
    evidence = f"{index.count} elements, {int(index.deleted.sum())} deleted"
    return Finding(
        "index-structure",
        not wrong,
        f"{evidence}; wrong: {', '.join(wrong)}" if wrong else evidence,
    )


def _check_labels(collection: CollectionAnatomy) -> Finding:
    index = collection.index
    if index is None or index.problem or index.id_to_label is None:
        return Finding("labels", passed=not collection.flushed_seq_id, evidence="none")
    alive = set(index.labels[~index.deleted].tolist())
    named = set(index.id_to_label.values())
    same = alive == named and len(named) == len(index.id_to_label) and index.names_ok
    return Finding("labels", same, f"{len(named)} named, {len(alive)} in the index")


def _check_log(collection: CollectionAnatomy) -> Finding:
    log = list(collection.log)
    if not collection.applied_seq_id:
        # Deletes before the first record leave no mark of having been applied.
        log = [entry for entry in log if entry.operation is not LogOperation.DELETE]
    newest = log[-1].seq_id if log else collection.flushed_seq_id
    in_order = collection.flushed_seq_id <= collection.applied_seq_id
    applied = newest <= collection.applied_seq_id
    return Finding(
        "log",
        in_order and applied,
        f"flushed to {collection.flushed_seq_id}, applied to {collection.applied_seq_id}, "
        f"newest {newest}",
    )


def _check_sets(collection: CollectionAnatomy) -> Finding:
    rows = {row.record_id for row in collection.rows}
    vectors = vector_ids(collection)
    missing, extra = len(rows - vectors), len(vectors - rows)
    evidence = f"{len(rows)} rows, {len(vectors)} vectors"
    if missing or extra:
        evidence += f"; {missing} rows without vector, {extra} vectors without row"
    unique = len(rows) == len(collection.rows)
    return Finding("same-ids", unique and not missing and not extra, evidence)


def _check_vectors(collection: CollectionAnatomy) -> Finding:
    index = collection.index
    sizes = {len(e.vector) for e in pending(collection) if e.vector is not None}
    right = sizes <= {collection.dimension}
    finite = all(
        bool(np.isfinite(e.vector).all()) for e in pending(collection) if e.vector is not None
    )
    if index is not None and index.count:
        finite = finite and bool(np.isfinite(index.vectors[~index.deleted]).all())
    return Finding("vectors", right and finite, f"{collection.dimension} dimensions")


_COLLECTION_CHECKS: tuple[Callable[[CollectionAnatomy], Finding], ...] = (
    _check_segment,
    _check_index,
    _check_labels,
    _check_log,
    _check_sets,
    _check_vectors,
)


def pending(collection: CollectionAnatomy) -> Iterator[LogEntry]:
    """Give the log entries that the index does not have yet."""
    return (entry for entry in collection.log if entry.seq_id > collection.flushed_seq_id)


def vector_ids(collection: CollectionAnatomy) -> set[str]:
    """Give the ids that have a vector: those of the index with the pending log applied."""
    ids = set(_labels(collection.index))
    for entry in pending(collection):
        if entry.operation is LogOperation.DELETE:
            ids.discard(entry.record_id)
        elif entry.operation is not LogOperation.UPDATE:
            ids.add(entry.record_id)
    return ids


def records(collection: CollectionAnatomy) -> Iterator[Record]:
    """Give every record with the vector that a reader would get.

    Only for a collection that passed its checks.
    """
    recent = {e.record_id: e.vector for e in pending(collection) if e.vector is not None}
    labels = _labels(collection.index)
    places: dict[int, int] = {}
    if collection.index is not None:
        places = {int(label): place for place, label in enumerate(collection.index.labels)}
    for row in collection.rows:
        vector = recent.get(row.record_id)
        if vector is None:
            vector = _stored_vector(collection.index, places, labels, row)
        yield Record(row.record_id, vector, row.document, row.metadata)


def _labels(index: HnswIndex | None) -> dict[str, int]:
    return dict(index.id_to_label) if index is not None and index.id_to_label else {}


def _stored_vector(
    index: HnswIndex | None, places: dict[int, int], labels: dict[str, int], row: Row
) -> NDArray[np.float32]:
    if index is None:
        raise ValueError(f"record {row.record_id!r} has no vector")
    vector: NDArray[np.float32] = index.vectors[places[labels[row.record_id]]]
    return vector
