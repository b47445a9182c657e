"""The checks find each kind of contradiction, and are content with every healthy shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

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
from chromaseal.seal.checks import (
    check_collection,
    check_database,
    check_deep,
    records,
    vector_ids,
)

VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)
INDEX = HnswIndex(
    version=1,
    max_elements=10,
    count=3,
    entry_point=0,
    max_level=0,
    file_sizes_bytes={"link_lists.bin": 12, "data_level0.bin": 300},
    links_end=12,
    labels=np.array([1, 2, 3], np.uint64),
    deleted=np.array([False, False, True]),
    neighbours_ok=True,
    vectors=VECTORS,
    levels_ok=True,
    id_to_label={"a": 1, "b": 2},
    names_ok=True,
)


def entry(seq_id: int, operation: LogOperation, record_id: str, number: float = 9) -> LogEntry:
    """Make a log entry; only deletes and updates of metadata have no vector."""
    bare = operation in {LogOperation.DELETE, LogOperation.UPDATE}
    return LogEntry(seq_id, operation, record_id, None if bare else np.full(4, number, np.float32))


def row(record_id: str) -> Row:
    """Make a row without anything."""
    return Row(record_id, None, {})


# Flushed up to 10: a and b in the index, c deleted there; then the log adds d and deletes a.
FLUSHED = CollectionAnatomy(
    name="notes",
    dimension=4,
    space="l2",
    scopes=("METADATA", "VECTOR"),
    vector_segment="segment",
    flushed_seq_id=10,
    applied_seq_id=12,
    row_ids=("b", "d"),
    fresh_rows={"d": 11},
    rows=(row("b"), row("d")),
    log=(
        entry(9, LogOperation.ADD, "old"),
        entry(10, LogOperation.DELETE, "old"),
        entry(11, LogOperation.ADD, "d"),
        entry(12, LogOperation.DELETE, "a"),
    ),
    index=INDEX,
)
NEVER_FLUSHED = replace(
    FLUSHED,
    flushed_seq_id=0,
    row_ids=("d", "old"),
    fresh_rows={"d": 11, "old": 9},
    rows=(row("d"), row("old")),
    log=(FLUSHED.log[0], *FLUSHED.log[2:]),
    index=None,
)
EMPTY = CollectionAnatomy("notes", None, "l2", FLUSHED.scopes, "", 0, 0, (), {}, (), None)
DATABASE = DirectoryAnatomy(
    size_bytes=8192,
    page_size_bytes=4096,
    page_count=2,
    quick_check=("ok",),
    migrations={"embeddings_queue": 2, "metadb": 6, "sysdb": 10},
    odd_types={},
    collections=(),
    journals=(),
)
LOOK = DeepLook(integrity_check=("ok",), full_text_check="", odd_values=0, lost_rows={})


def failed(collection: CollectionAnatomy) -> set[str]:
    """Give the checks that a collection does not pass."""
    return {finding.check for finding in check_collection(collection) if not finding.passed}


@pytest.mark.parametrize("healthy", [FLUSHED, NEVER_FLUSHED, EMPTY])
def test_healthy_collections_pass(healthy: CollectionAnatomy) -> None:
    """Flushed with tombstones and a log, never flushed, and without any record."""
    assert failed(healthy) == set()
    assert all(finding.evidence for finding in check_collection(healthy))


@pytest.mark.parametrize(
    ("damaged", "check"),
    [
        (replace(FLUSHED, index=None), "segment"),
        (replace(FLUSHED, index=replace(INDEX, problem="cut")), "segment"),
        (replace(FLUSHED, index=replace(INDEX, id_to_label=None)), "segment"),
        (replace(FLUSHED, index=replace(INDEX, version=2)), "index-structure"),
        (replace(FLUSHED, index=replace(INDEX, links_end=8)), "index-structure"),
        (replace(FLUSHED, index=replace(INDEX, links_end=-1)), "index-structure"),
        (replace(FLUSHED, index=replace(INDEX, neighbours_ok=False)), "index-structure"),
        (
            replace(FLUSHED, index=replace(INDEX, labels=np.array([1, 2, 2], np.uint64))),
            "index-structure",
        ),
        (replace(FLUSHED, index=replace(INDEX, deleted=np.zeros(3, np.bool_))), "labels"),
        (replace(FLUSHED, index=replace(INDEX, id_to_label={"a": 1, "b": 1})), "labels"),
        (replace(FLUSHED, index=replace(INDEX, id_to_label={"a": 1, "b": 7})), "labels"),
        (replace(FLUSHED, applied_seq_id=11), "log"),
        (replace(FLUSHED, flushed_seq_id=13), "log"),
        (replace(FLUSHED, scopes=("METADATA",)), "segment"),
        (replace(FLUSHED, scopes=("METADATA", "VECTOR", "VECTOR")), "segment"),
        (replace(FLUSHED, index=replace(INDEX, levels_ok=False)), "index-structure"),
        (replace(FLUSHED, index=replace(INDEX, emptied=1)), "index-structure"),
        (replace(FLUSHED, fresh_rows={"b": 12, "d": 11}), "log"),
        (replace(FLUSHED, fresh_rows={"a": 12, "d": 11}), "log"),
        (replace(FLUSHED, row_ids=("b",)), "same-ids"),
        (replace(FLUSHED, row_ids=("b", "d", "e")), "same-ids"),
        (replace(FLUSHED, row_ids=("b", "d", "d")), "same-ids"),
        (replace(FLUSHED, log=FLUSHED.log[:2]), "same-ids"),
        (replace(FLUSHED, dimension=5), "vectors"),
        (replace(FLUSHED, log=(entry(11, LogOperation.ADD, "d", np.nan),)), "vectors"),
        (replace(FLUSHED, index=replace(INDEX, vectors=np.full_like(VECTORS, np.inf))), "vectors"),
        (replace(FLUSHED, space="cosine"), "vectors"),
        (replace(FLUSHED, log=(entry(9, LogOperation.UPSERT, "b"), *FLUSHED.log)), "log-vectors"),
        (
            replace(FLUSHED, log=(entry(9, LogOperation.DELETE, "a"), *FLUSHED.log[1:3])),
            "log-vectors",
        ),
        (replace(FLUSHED, log=FLUSHED.log[:1] + FLUSHED.log[2:]), "log-vectors"),
        (
            replace(FLUSHED, logged_rows={"d": 10}, log=(entry(11, LogOperation.UPSERT, "d"),)),
            "log-rows",
        ),
        (replace(FLUSHED, rows=(row("a"),), logged_rows={"a": 5}), "log-rows"),
        (
            replace(
                FLUSHED,
                logged_rows={"d": 11},
                log=(replace(FLUSHED.log[2], values={"chroma:document": "text"}),),
            ),
            "log-rows",
        ),
        (replace(NEVER_FLUSHED, flushed_seq_id=5), "segment"),
        (replace(NEVER_FLUSHED, log=()), "same-ids"),
    ],
)
def test_contradictions_are_found(damaged: CollectionAnatomy, check: str) -> None:
    """Each kind of damage fails the check that is about it."""
    assert check in failed(damaged)


def test_long_vectors_are_finite() -> None:
    """The square of a finite vector's length may be too large for its precision."""
    assert (
        failed(replace(FLUSHED, index=replace(INDEX, vectors=VECTORS * np.float32(1e25)))) == set()
    )


def test_what_no_link_leads_to_is_no_damage() -> None:
    """Where many vectors are the same, hnswlib itself leaves most without a link to them."""
    assert failed(replace(FLUSHED, index=replace(INDEX, unreached=2))) == set()


def test_what_chromadb_ignores_gives_no_vector() -> None:
    """An ADD of an id that is there, and an UPDATE of one that is not, change nothing."""
    ignored = (
        *FLUSHED.log,
        entry(13, LogOperation.ADD, "b"),
        LogEntry(14, LogOperation.UPDATE, "ghost", np.zeros(4, np.float32)),
    )
    collection = replace(FLUSHED, log=ignored, applied_seq_id=14)
    assert failed(collection) == set()
    assert vector_ids(collection) == {"b", "d"}
    (first, _) = records(collection)
    assert np.array_equal(first.embedding, VECTORS[1])


def test_the_pending_log_counts() -> None:
    """Vectors are those of the index with the newer log entries applied, and no older ones."""
    assert vector_ids(FLUSHED) == {"b", "d"}
    again = (*FLUSHED.log, entry(13, LogOperation.UPSERT, "a"), entry(14, LogOperation.UPDATE, "x"))
    assert vector_ids(replace(FLUSHED, log=again)) == {"a", "b", "d"}


def test_records_have_the_newest_vector() -> None:
    """A vector of the log goes before the one in the index."""
    found: dict[str, Record] = {each.id: each for each in records(FLUSHED)}
    assert np.array_equal(found["b"].embedding, VECTORS[1])
    assert np.array_equal(found["d"].embedding, np.full(4, 9))
    newer = (*FLUSHED.log, entry(13, LogOperation.UPSERT, "b", 5))
    (first, _) = records(replace(FLUSHED, log=newer, applied_seq_id=13))
    assert np.array_equal(first.embedding, np.full(4, 5))


@pytest.mark.parametrize(
    ("damaged", "check"),
    [
        (replace(DATABASE, size_bytes=8191), "sqlite-size"),
        (replace(DATABASE, page_count=3), "sqlite-size"),
        (replace(DATABASE, quick_check=("row 1 missing",)), "sqlite-structure"),
        (replace(DATABASE, odd_types={"embeddings": 1}), "types"),
        (replace(DATABASE, journals=("chroma.sqlite3-wal",)), "no-journal"),
        (replace(DATABASE, migrations={**DATABASE.migrations, "metadb": 99}), "schema-known"),
        (replace(DATABASE, migrations={}), "schema-known"),
        (replace(DATABASE, write_ahead=True), "journal-mode"),
    ],
)
def test_the_database_as_a_whole_is_checked(damaged: DirectoryAnatomy, check: str) -> None:
    """Size, SQLite's own check, journals and the version of the schema."""
    assert {finding.check for finding in check_database(damaged) if not finding.passed} == {check}
    assert all(finding.passed for finding in check_database(DATABASE))


@pytest.mark.parametrize(
    ("damaged", "check"),
    [
        (replace(LOOK, integrity_check=("row 1 missing from index",)), "sqlite-structure"),
        (replace(LOOK, full_text_check="malformed"), "full-text"),
        (replace(LOOK, odd_values=1), "values"),
        (replace(LOOK, lost_rows={"values without a record": 1}), "foreign-rows"),
    ],
)
def test_what_takes_long_is_checked(damaged: DeepLook, check: str) -> None:
    """SQLite's own thorough check, the full text, odd values and lost rows."""
    assert {finding.check for finding in check_deep(damaged) if not finding.passed} == {check}
    assert all(finding.passed for finding in check_deep(LOOK))


def test_lengths_are_checked_where_chromadb_makes_them_one() -> None:
    """In a cosine collection every stored vector has length 1, or none at all."""
    units = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 3, 0, 0]], np.float32)
    cosine = replace(FLUSHED, space="cosine", index=replace(INDEX, vectors=units))
    assert failed(cosine) == set(), "the element with length 3 is deleted"
    alive = replace(cosine, index=replace(INDEX, vectors=units[[0, 2, 1]]))
    assert failed(alive) == {"vectors"}


def test_neighbours_listed_twice_and_elements_alone_are_told_of() -> None:
    """They raise no alarm; whoever looks for the cause of something is to see them."""
    collection = replace(FLUSHED, index=replace(INDEX, doubled=2, alone=3))
    (found,) = (f for f in check_collection(collection) if f.check == "index-structure")
    assert found.passed
    assert found.evidence.endswith(", neighbours listed twice: 2, linked with nothing: 3")
