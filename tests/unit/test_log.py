"""What entries of ChromaDB's log do is what ChromaDB does with them."""

from __future__ import annotations

import numpy as np
import pytest

from chromaseal.seal.anatomy import LogEntry, LogOperation
from chromaseal.seal.log import apply_log, given_vectors, same_vector, split_log

ADD, UPDATE, UPSERT, DELETE = LogOperation


def entry(
    seq_id: int, operation: LogOperation, record_id: str = "a", *, sound: bool = True
) -> LogEntry:
    """Make an entry whose vector tells its place."""
    vector = None if operation is DELETE else np.full(1, seq_id, np.float32)
    return LogEntry(seq_id, operation, record_id, vector, sound)


def applied(present: set[str] | None, *operations: LogOperation) -> tuple[set[str], dict[str, int]]:
    """Apply operations on one id; give the ids, and by which entry their vectors are."""
    found = apply_log([entry(n + 1, what) for n, what in enumerate(operations)], present)
    return found.ids, {record_id: int(vector[0]) for record_id, vector in found.vectors.items()}


@pytest.mark.parametrize(
    ("present", "operations", "vectors"),
    [
        ({"a"}, (ADD,), {}),
        (set(), (ADD,), {"a": 1}),
        (set(), (ADD, ADD), {"a": 1}),
        ({"a"}, (DELETE, ADD, ADD), {"a": 2}),
        ({"a"}, (UPSERT, ADD), {"a": 1}),
        ({"a"}, (UPDATE,), {"a": 1}),
        (set(), (UPSERT, UPDATE), {"a": 2}),
    ],
)
def test_an_add_of_what_is_there_changes_nothing(
    present: set[str], operations: tuple[LogOperation, ...], vectors: dict[str, int]
) -> None:
    """The first one wins until the id is deleted; updates and upserts win always."""
    assert applied(present, *operations) == ({"a"}, vectors)


def test_an_update_of_what_is_not_there_changes_nothing() -> None:
    """ChromaDB logs it with its vector, and ignores it."""
    assert applied(set(), UPDATE) == (set(), {})
    assert applied({"a"}, DELETE, UPDATE) == (set(), {})


def test_of_an_unknown_beginning_an_add_says_that_the_id_is_there() -> None:
    """Whether it counted is known only where a row names it, or a delete came before."""
    log = [entry(1, ADD), entry(2, ADD, "b"), entry(3, DELETE, "c"), entry(4, ADD, "c")]
    found = apply_log([*log, entry(5, ADD, "d")], None, {"a": 9, "b": 2, "d": 3})
    assert found.ids == {"a", "b", "c", "d"}
    assert found.unsure == {"a"}
    assert {i: int(v[0]) for i, v in found.vectors.items()} == {"b": 2, "c": 4}


def test_of_an_unknown_beginning_an_update_counts_if_its_id_is_there() -> None:
    """It brings no id."""
    found = apply_log([entry(1, UPDATE)], None)
    assert (found.ids, found.vectors["a"].tolist()) == (set(), [1])


@pytest.mark.parametrize("settled", [UPSERT, UPDATE, DELETE])
def test_a_damaged_entry_is_unsure_until_another_settles_it(settled: LogOperation) -> None:
    """An ADD does not: the damaged one may have been a delete."""
    damaged = entry(1, UPSERT, sound=False)
    assert apply_log([damaged], {"a"}).unsure == {"a"}
    assert apply_log([damaged, entry(2, ADD)], {"a"}).unsure == {"a"}
    assert apply_log([damaged, entry(2, settled)], {"a"}).unsure == set()
    bare = LogEntry(2, UPDATE, "a", None)
    assert apply_log([damaged, bare], {"a"}).unsure == {"a"}


def test_a_log_is_split_where_the_index_ends() -> None:
    """The entry of the flush itself is in the index."""
    log = [entry(1, ADD), entry(2, ADD), entry(3, ADD)]
    flushed, pending = split_log(log, 2)
    assert ([e.seq_id for e in flushed], [e.seq_id for e in pending]) == ([1, 2], [3])


def test_values_are_merged() -> None:
    """As ChromaDB does: a key that is not named stays, and one that is None goes."""
    first = LogEntry(1, UPSERT, "a", np.zeros(1, np.float32), values={"k": 1, "x": 0.1})
    later = LogEntry(2, UPDATE, "a", None, values={"k": None, "y": [True]})
    found = apply_log([first, later], set())
    assert found.contradictions("a", {"x": 0.1, "y": [True]}) == []
    assert found.contradictions("a", {"x": 0.10000000000000002, "y": [True]}) == []
    assert found.contradictions("a", {"x": 0.2, "y": [True]}) == ["x"]
    assert found.contradictions("a", {"k": 1, "x": 0.1, "y": [1]}) == ["k", "y"]
    assert found.contradictions("a", {"x": 0.1, "y": [True], "z": 1}) == ["z"]
    unknown = apply_log([first, later], None)
    assert unknown.contradictions("a", {"x": 0.1, "y": [True], "z": 1}) == []
    assert (found.changes, found.whole) == ({"a": 2}, {"a"})


def test_of_an_unknown_beginning_an_update_before_an_upsert_says_nothing() -> None:
    """If its id was not there, it has changed nothing, and the record is a new one."""
    update = LogEntry(1, UPDATE, "a", None, values={"k": 1, "x": 2})
    upsert = LogEntry(2, UPSERT, "a", np.zeros(1, np.float32), values={"x": 3})
    found = apply_log([update, upsert], None)
    assert found.contradictions("a", {"x": 3}) == []
    assert found.contradictions("a", {"k": 1, "x": 3}) == []
    assert found.contradictions("a", {"k": 1, "x": 2}) == ["x"]
    known = apply_log([update, upsert], {"a"})
    assert known.contradictions("a", {"x": 3}) == ["k"]
    again = LogEntry(3, UPSERT, "a", np.zeros(1, np.float32), values={"y": 4})
    assert apply_log([upsert, again], None).contradictions("a", {"y": 4}) == ["x"]


def test_of_a_cosine_collection_directions_are_compared() -> None:
    """The index has vectors of length 1, the log those that were written."""
    vector = np.array([3, 4], np.float32)
    assert same_vector(vector, vector / np.float32(5), "cosine")
    assert not same_vector(vector, vector / np.float32(5), "l2")
    assert not same_vector(vector, vector[::-1], "cosine")
    assert not same_vector(vector, vector[:1], "l2")


def test_vectors_that_were_given_whatever_was_before() -> None:
    """An upsert tells, and an update after it; an ADD, or an update of what may be absent, not."""
    log = [
        entry(1, UPSERT, "upserted"),
        entry(2, ADD, "upserted"),
        entry(3, UPSERT, "updated"),
        entry(4, UPDATE, "updated"),
        entry(5, UPDATE, "unknown"),
        entry(6, ADD, "added"),
        entry(7, UPSERT, "deleted"),
        entry(8, DELETE, "deleted"),
        entry(9, UPSERT, "unsound"),
        entry(10, UPSERT, "unsound", sound=False),
        LogEntry(11, UPDATE, "updated", None),
    ]
    found = {record_id: int(vector[0]) for record_id, vector in given_vectors(log).items()}
    assert found == {"upserted": 1, "updated": 4}
