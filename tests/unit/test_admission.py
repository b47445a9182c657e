"""What a delta may hold: refused or cleaned at the door, never in the middle of a merge."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chromaseal.delta.admission import admit
from chromaseal.delta.model import Delta, DeltaHeader, Upserts, no_upserts, upserts_of
from chromaseal.embedding import ModelPin
from chromaseal.errors import RefusedInput, UsageError
from chromaseal.keys import check_collection
from chromaseal.record import MetadataPatch, Record
from chromaseal.testing.records import record, vector_of

HEADER = DeltaHeader("run", "notes", "2026-11-23T12:00:00.000000Z", None)


def admitted(
    *records: Record,
    updates: dict[str, MetadataPatch] | None = None,
    deletes: tuple[str, ...] = (),
    header: DeltaHeader = HEADER,
) -> Delta:
    """Let changes in."""
    return admit(header, upserts_of(records), updates or {}, deletes)


def refused(*records: Record, **changes: object) -> str:
    """Give the kind of the refusal."""
    with pytest.raises(RefusedInput) as caught:
        admitted(*records, **changes)  # type: ignore[arg-type] # by name
    return caught.value.kind


def test_nothing_is_no_run() -> None:
    """A run that changes nothing is refused."""
    assert refused() == "empty-delta"


def test_text_is_cleaned() -> None:
    """NUL bytes go, lone surrogates are replaced: in documents, values and lists."""
    dirty = Record("a", vector_of(1), "x\x00y\ud800", {"k": "\x00", "l": ["\udfff", "ok"]})
    delta = admitted(dirty, updates={"b": {"k": "a\x00b"}})
    assert delta.upserts.documents == ("xy\ufffd",)
    assert delta.upserts.metadatas == ({"k": "", "l": ["\ufffd", "ok"]},)
    assert delta.updates == {"b": {"k": "ab"}}


def test_floats_keep_15_digits() -> None:
    """More digits than ChromaDB keeps are dropped before they count."""
    delta = admitted(record("a", 1, x=0.1234567890123456789, y=[1 / 3]))
    assert delta.upserts.metadatas == ({"x": 0.123456789012346, "y": [0.333333333333333]},)


@pytest.mark.parametrize("record_id", ["", "a\x00", "\ud800"])
def test_bad_ids_are_refused(record_id: str) -> None:
    """An id is never changed, so it must be storable as it is, wherever it stands."""
    assert refused(record(record_id, 1)) == "bad-id"
    assert refused(updates={record_id: {"k": 1}}) == "bad-id"
    assert refused(deletes=(record_id,)) == "bad-id"


def test_an_id_is_named_once() -> None:
    """Two fates for one record are refused; deleting twice is one fate."""
    assert refused(record("a", 1), record("a", 2)) == "repeated-id"
    assert refused(record("a", 1), deletes=("a",)) == "repeated-id"
    assert refused(record("a", 1), updates={"a": {"k": 1}}) == "repeated-id"
    assert admitted(deletes=("a", "a")).deletes == ("a",)


@pytest.mark.parametrize("key", ["", "chroma:document", "#document", "$and", "a\x00", "\ud800", 7])
@pytest.mark.parametrize("value", [1, None])
def test_bad_keys_are_refused(key: str, value: int | None) -> None:
    """Keys that ChromaDB keeps for itself stop a merge: also those that are to be cleared."""
    assert refused(updates={"a": {"good": 1, key: value}}) == "bad-metadata"
    if value is not None:
        assert refused(Record("a", vector_of(1), None, {key: value})) == "bad-metadata"


@pytest.mark.parametrize(
    "value",
    [
        math.nan, math.inf, 1 << 63, -(1 << 63) - 1, [], [1, 2.0], [1, True], [[1]], [None],
        ["a", 1], {"k": 1}, (1, 2), b"x", {1}, ..., np.int64(1), [math.nan], [1 << 63],
    ],
    ids=repr,
)  # fmt: skip
def test_bad_values_are_refused(value: object) -> None:
    """Whatever ChromaDB cannot keep exactly is refused, in upserts and updates."""
    bad = {"k": value}
    assert refused(Record("a", vector_of(1), None, bad)) == "bad-metadata"  # type: ignore[arg-type]
    assert refused(updates={"a": bad}) == "bad-metadata"


def test_a_record_has_no_none() -> None:
    """None clears a key in an update and means nothing in a record."""
    assert refused(Record("a", vector_of(1), None, {"k": None})) == "bad-metadata"  # type: ignore[dict-item]
    assert admitted(updates={"a": {"k": None}}).updates == {"a": {"k": None}}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_vectors_are_finite(number: float) -> None:
    """The record with the bad vector is named."""
    bad = Record("culprit", np.array([1, number], np.float32), None, {})
    with pytest.raises(RefusedInput, match="culprit") as caught:
        admitted(Record("fine", np.array([1, 2], np.float32), None, {}), bad)
    assert caught.value.kind == "bad-vector"


def test_vectors_have_rows_and_columns() -> None:
    """Columns of different lengths, flat or empty vectors are refused."""
    flat = Upserts(("a",), np.zeros(1, np.float32), (None,), ({},))
    thin = Upserts(("a",), np.zeros((1, 0), np.float32), (None,), ({},))
    short = Upserts(("a", "b"), np.zeros((1, 2), np.float32), (None,), ({},))
    for upserts in (flat, thin, short):
        with pytest.raises(RefusedInput) as caught:
            admit(HEADER, upserts, {}, ())
        assert caught.value.kind == "bad-vector"


def test_vectors_fit_their_model() -> None:
    """A model that makes other vectors than these is refused at once."""
    header = DeltaHeader("run", "notes", HEADER.created_at, ModelPin("m", "1", "", 5))
    assert refused(record("a", 1), header=header) == "wrong-dimension"
    assert len(admit(header, no_upserts(), {}, ("a",))) == 1


@pytest.mark.parametrize("name", ["abc", "a-b_c.d", "A1b", "x" * 250, "1.2.3", "1.2.3.4.5"])
def test_collection_names(name: str) -> None:
    """What ChromaDB and a key can hold is a name."""
    assert check_collection(name) == name


@pytest.mark.parametrize(
    "name", ["", "ab", "x" * 251, "a..b", "-ab", "ab.", "a/b", "a b", "äbc", "127.0.0.1", "abc\n"]
)
def test_names_that_are_none(name: str) -> None:
    """What either of them cannot hold is refused before anything is stored."""
    with pytest.raises(UsageError) as caught:
        check_collection(name)
    assert caught.value.kind == "bad-collection-name"
