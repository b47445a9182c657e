"""The checks that a directory has to pass: anatomy -> verdicts with evidence.

A row count and a sample query prove nothing: ChromaDB answers normally over cut link lists,
finds a quarter of the records where the index is missing, and mixes two versions' files without
a word. So these compare structure with structure and set with set. They do not see a changed
value inside a vector or metadata, nor links of the index that lead to a wrong but existing
element; the digests of pages see both, and the multiset hash the former.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from chromaseal.record import Record
from chromaseal.seal.anatomy import (
    CollectionAnatomy,
    DeepLook,
    DirectoryAnatomy,
    HnswIndex,
    LogEntry,
    LogOperation,
    Row,
)
from chromaseal.seal.log import DOCUMENT_KEY, Applied, apply_log, same_vector, split_log
from chromaseal.seal.verdict import Finding

# Newest migration by part of the schema; chromadb 0.5.7 to 0.6, 1.0 to 1.2, 1.3 to 1.4, and 1.5.
KNOWN_SCHEMAS = (
    {"embeddings_queue": 2, "metadb": 4, "sysdb": 9},
    {"embeddings_queue": 2, "metadb": 5, "sysdb": 9},
    {"embeddings_queue": 2, "metadb": 5, "sysdb": 10},
    {"embeddings_queue": 2, "metadb": 6, "sysdb": 10},
)
_HNSW_VERSION = 1
_OF_RECORDS_ONLY = (LogOperation.DELETE, LogOperation.UPDATE)
# What dividing by a length in single precision may leave.
_LENGTH_TOLERANCE = 1e-3


def check_database(anatomy: DirectoryAnatomy) -> Iterator[Finding]:
    """Check what concerns the whole directory."""
    size = anatomy.page_size_bytes * anatomy.page_count
    yield Finding(
        "sqlite-size",
        size == anatomy.size_bytes,
        f"{anatomy.page_count} pages of {anatomy.page_size_bytes} bytes, "
        f"{anatomy.size_bytes} bytes on disk",
    )
    if anatomy.quick_check:
        yield _sqlite_structure(anatomy.quick_check)
    yield Finding("no-journal", not anatomy.journals, ", ".join(anatomy.journals) or "none")
    mode = "WAL, which ChromaDB does not use" if anatomy.write_ahead else "delete"
    yield Finding("journal-mode", not anatomy.write_ahead, mode)
    yield Finding(
        "schema-known",
        anatomy.migrations in KNOWN_SCHEMAS,
        ", ".join(f"{part} {newest}" for part, newest in sorted(anatomy.migrations.items())),
    )
    yield Finding("types", not anatomy.odd_types, _counts(anatomy.odd_types))


def check_deep(deep: DeepLook) -> Iterator[Finding]:
    """Check what took long to find out."""
    yield _sqlite_structure(deep.integrity_check)
    yield Finding("full-text", not deep.full_text_check, deep.full_text_check or "ok")
    yield Finding("values", not deep.odd_values, f"{deep.odd_values} of no known type")
    yield Finding("foreign-rows", not deep.lost_rows, _counts(deep.lost_rows))


def _sqlite_structure(answer: tuple[str, ...]) -> Finding:
    return Finding("sqlite-structure", answer == ("ok",), "; ".join(answer))


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in found.items()) or "ok"


def check_collection(collection: CollectionAnatomy, *, deep: bool = True) -> Iterator[Finding]:
    """Check one collection's parts against each other."""
    yield from (check(collection) for check in _QUICK_CHECKS)
    if deep:
        yield _check_reachable(collection)
        yield _check_log_rows(collection)


def _check_segment(collection: CollectionAnatomy) -> Finding:
    index, flushed = collection.index, collection.flushed_seq_id
    if collection.scopes != ("METADATA", "VECTOR"):
        scopes = ", ".join(collection.scopes) or "none"
        return Finding("segment", passed=False, evidence=f"segments: {scopes}")
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
            ("elements without links", not index.emptied),
            ("levels", index.levels_ok),
            ("labels", len(np.unique(index.labels)) == index.count),
        )
        if not right
    ]
    evidence = f"{index.count} elements, {int(index.deleted.sum())} deleted"
    if index.doubled:
        # hnswlib's own threads do that, and so may a damage: whoever reads is to know.
        evidence += f", neighbours listed twice: {index.doubled}"
    if index.alone:
        evidence += f", linked with nothing: {index.alone}"
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


def check_log(collection: CollectionAnatomy) -> Finding:
    """Check that the log leads from the index to the rows."""
    log = list(collection.log)
    if not collection.applied_seq_id:
        # Before the first record neither deletes nor updates leave a mark of having been applied.
        log = [entry for entry in log if entry.operation not in _OF_RECORDS_ONLY]
    newest = log[-1].seq_id if log else collection.flushed_seq_id
    in_order = collection.flushed_seq_id <= collection.applied_seq_id
    applied = newest <= collection.applied_seq_id
    gaps = _gaps(collection)
    evidence = (
        f"flushed to {collection.flushed_seq_id}, applied to {collection.applied_seq_id}, "
        f"newest {newest}"
    )
    waiting = sum(entry.seq_id > collection.applied_seq_id for entry in log)
    if waiting:
        evidence += f"; {waiting} entries that are not in the tables yet: their writer was killed"
    if gaps:
        evidence += f"; {len(gaps)} records whose last change is not in the log: {gaps[0]}"
    return Finding("log", in_order and applied and not gaps, evidence)


def _gaps(collection: CollectionAnatomy) -> list[str]:
    """Give the records that were changed since the last flush by no entry of the log."""
    there = {(e.seq_id, e.record_id) for e in collection.log if not e.is_delete}
    fresh = collection.fresh_rows.items()
    return [record_id for record_id, seq_id in fresh if (seq_id, record_id) not in there]


def _check_log_vectors(collection: CollectionAnatomy) -> Finding:
    """Compare what the index has with the entries that it has applied and the log still has."""
    if collection.index is not None and collection.index.problem:
        return Finding("log-vectors", passed=True, evidence="no index to compare with")
    flushed, later = split_log(collection.log, collection.flushed_seq_id)
    applied = apply_log(flushed, None, collection.logged_rows)
    replaced = {entry.record_id for entry in later}
    index = _Vectors(collection)
    wrong = [
        *(
            record_id
            for record_id, vector in applied.vectors.items()
            if record_id not in replaced
            and index.has(record_id)
            and not same_vector(vector, index.stored(record_id), collection.space)
        ),
        *(applied.ids - index.labels.keys() - replaced),
        *((applied.gone & index.labels.keys()) - replaced),
    ]
    evidence = f"{len(applied.vectors)} vectors of the log"
    if wrong:
        evidence += f"; {len(wrong)} records are not in the index as it has them: {wrong[0]}"
    return Finding("log-vectors", not wrong, evidence)


def _check_log_rows(collection: CollectionAnatomy) -> Finding:
    """Compare the rows with the entries of the log that changed them last."""
    begin = None if collection.flushed_seq_id else ()
    applied = apply_log(collection.log, begin, collection.logged_rows)
    wrong = [
        row.record_id
        for row in collection.rows
        if row.record_id in collection.logged_rows
        and not _is_as_logged(row, collection.logged_rows[row.record_id], applied)
    ]
    evidence = f"{len(applied.changes)} records of the log"
    if wrong:
        evidence += f"; {len(wrong)} rows are not as it has them: {wrong[0]}"
    return Finding("log-rows", not wrong, evidence)


def _is_as_logged(row: Row, seq_id: int, applied: Applied) -> bool:
    if row.record_id in applied.gone:
        return False
    values = dict(row.metadata)
    if row.document is not None:
        values[DOCUMENT_KEY] = row.document
    same_change = applied.changes.get(row.record_id, seq_id) == seq_id
    return same_change and not applied.contradictions(row.record_id, values)


def _check_sets(collection: CollectionAnatomy) -> Finding:
    rows = set(collection.row_ids)
    vectors = vector_ids(collection)
    missing, extra = len(rows - vectors), len(vectors - rows)
    evidence = f"{len(rows)} rows, {len(vectors)} vectors"
    if missing or extra:
        evidence += f"; {missing} rows without vector, {extra} vectors without row"
    unique = len(rows) == len(collection.row_ids)
    return Finding("same-ids", unique and not missing and not extra, evidence)


def check_vectors(collection: CollectionAnatomy) -> Finding:
    """Check that every vector is one: as long as it must be, and of numbers."""
    waiting = [entry.vector for entry in pending(collection) if entry.vector is not None]
    right = {len(vector) for vector in waiting} <= {collection.dimension}
    finite = all(bool(np.isfinite(vector).all()) for vector in waiting)
    evidence = f"{collection.dimension} dimensions"
    if collection.index is None or not collection.index.count:
        return Finding("vectors", right and finite, evidence)
    stored = collection.index.vectors[~collection.index.deleted]
    finite = finite and bool(np.isfinite(stored).all())
    # Of very long vectors the square is too large for single precision.
    with np.errstate(over="ignore"):
        squares = np.einsum("ij,ij->i", stored, stored)
    zeros = int((squares == 0).sum())
    evidence += f", {zeros} of length 0" if zeros else ""
    if collection.space == "cosine" and finite:
        odd = int((abs(np.sqrt(squares[squares > 0]) - 1) > _LENGTH_TOLERANCE).sum())
        evidence += f", {odd} not of length 1" if odd else ""
        right = right and not odd
    return Finding("vectors", right and finite, evidence if finite else f"{evidence}, not finite")


def _check_reachable(collection: CollectionAnatomy) -> Finding:
    """Say how many elements links lead to, which proves nothing.

    hnswlib drops links as it adds others. Among vectors that are the same, or of which some are
    nearest to all, as inner products have them, no link leads to most elements of a healthy index.
    """
    index = collection.index
    if index is None or index.unreached is None:
        return Finding("reachable", passed=True, evidence="no links to follow")
    alive = int((~index.deleted).sum())
    return Finding("reachable", passed=True, evidence=f"{alive - index.unreached} of {alive}")


_QUICK_CHECKS: tuple[Callable[[CollectionAnatomy], Finding], ...] = (
    _check_segment,
    _check_index,
    _check_labels,
    check_log,
    _check_log_vectors,
    _check_sets,
    check_vectors,
)


def pending(collection: CollectionAnatomy) -> Iterator[LogEntry]:
    """Give the log entries that the index does not have yet."""
    return (entry for entry in collection.log if entry.seq_id > collection.flushed_seq_id)


def vector_ids(collection: CollectionAnatomy) -> set[str]:
    """Give the ids that have a vector: those of the index with the pending log applied."""
    return apply_log(pending(collection), _labels(collection.index)).ids


def records(collection: CollectionAnatomy) -> Iterator[Record]:
    """Give every record with the vector that a reader would get.

    Only for a collection that passed its checks.
    """
    vectors = _Vectors(collection)
    for row in collection.rows:
        yield Record(row.record_id, vectors.of(row.record_id), row.document, row.metadata)


def stored_vectors(
    collection: CollectionAnatomy, ids: Iterable[str]
) -> dict[str, NDArray[np.float32]]:
    """Give the vectors that a reader would get, by id.

    Only for a collection that passed its checks.
    """
    vectors = _Vectors(collection)
    return {record_id: vectors.of(record_id) for record_id in ids}


class _Vectors:
    """Where a collection's vectors are: in the log, or else in the index."""

    def __init__(self, collection: CollectionAnatomy) -> None:
        index = collection.index
        self._index = index
        self.labels = _labels(index)
        self._recent = apply_log(pending(collection), self.labels).vectors
        self._places: dict[int, int] = {}
        if index is not None:
            self._places = dict(zip(index.labels.tolist(), range(index.count), strict=True))

    def of(self, record_id: str) -> NDArray[np.float32]:
        """Give one record's vector."""
        recent = self._recent.get(record_id)
        if recent is not None:
            return recent
        return self.stored(record_id)

    def has(self, record_id: str) -> bool:
        """Whether the index has one."""
        return self._index is not None and self.labels.get(record_id, -1) in self._places

    def stored(self, record_id: str) -> NDArray[np.float32]:
        """Give the one that the index has."""
        if self._index is None:
            raise ValueError(f"record {record_id!r} has no vector")
        vector: NDArray[np.float32] = self._index.vectors[self._places[self.labels[record_id]]]
        return vector


def _labels(index: HnswIndex | None) -> dict[str, int]:
    return dict(index.id_to_label) if index is not None and index.id_to_label else {}
