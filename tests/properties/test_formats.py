"""Every stored form reads back as it was written, and refuses whatever is not."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chromaseal import keys, multiset
from chromaseal.adapters.parquet.codec import ParquetDeltaCodec
from chromaseal.clock import from_iso, to_iso
from chromaseal.delta.codec import DeltaCodec
from chromaseal.delta.model import Delta
from chromaseal.errors import ChromasealError, Damaged, Unsupported, UsageError
from chromaseal.object_store import check_key
from chromaseal.record import Record, record_digest
from chromaseal.snapshot.version_id import VersionId, parse, stamp_after
from chromaseal.testing.oracle import assert_same_rows
from chromaseal.testing.records import record
from chromaseal.testing.simulation.delta_codecs import JsonCodec
from chromaseal.testing.strategies import deltas, records

CODEC = ParquetDeltaCodec()
_EARLY, _LATE = dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1)  # noqa: DTZ001 - bounds only
moments = st.datetimes(_EARLY, _LATE, timezones=st.just(dt.UTC))
hexes = st.text("0123456789abcdef", min_size=32, max_size=32)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", fullmatch=True)
collections = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_-]|\.){1,60}[A-Za-z0-9]", fullmatch=True)
collections = collections.filter(
    lambda name: ".." not in name and not name.replace(".", "").isdigit()
)

# --- keys --------------------------------------------------------------------------------------


@given(collections, names)
def test_keys_round_trip(collection: str, name: str) -> None:
    """Every key is parsed into the parts that it was built from, and every store takes it."""
    assert keys.parse_delta(keys.delta(collection, name, ".parquet")) == (collection, name)
    assert keys.parse_manifest(keys.manifest(collection, name)) == (collection, name)
    assert keys.parse_collection(keys.collection(collection)) == collection
    assert keys.parse_delta(keys.manifest(collection, name)) is None
    assert keys.parse_manifest(keys.delta(collection, name, ".parquet")) is None
    assert keys.parse_tag(keys.tag(collection, name)) == name
    assert keys.parse_tag(keys.manifest(collection, name)) is None
    for key in (
        keys.delta(collection, name, ".parquet"),
        keys.manifest(collection, name),
        keys.collection(collection),
        keys.pointer(collection),
        keys.layer_part(collection, name, 17),
        keys.history_page(collection, name),
        keys.tag(collection, name),
        keys.gc(collection, name),
        keys.probe(name),
        keys.original(name),
        keys.reading(name, name),
    ):
        assert check_key(key) == key


@given(collections, st.integers(1, 10**8), hexes, st.sampled_from(["-base", "-step", "-fold"]))
def test_keys_tell_what_they_were_written_for(
    collection: str, number: int, attempt: str, what: str
) -> None:
    """A layer's and a history page's key has the number of its version; no other key has one."""
    prefix = f"{number:06d}-{attempt}"
    assert keys.attempt_number(keys.layer_part(collection, prefix + what, 3)) == number
    assert keys.attempt_number(keys.history_page(collection, prefix)) == number
    assert keys.attempt_number(keys.manifest(collection, prefix)) is None
    assert keys.attempt_number(keys.tag(collection, attempt)) is None
    assert keys.attempt_number(f"{collection}/layer/somebody-else.layer") is None


@given(st.text(max_size=300))
def test_no_name_builds_a_bad_key(text: str) -> None:
    """Any text at all is either refused or gives a key that every store takes."""
    for build in (
        keys.collection,
        keys.pointer,
        keys.original,
        lambda t: keys.layer_part("abc", t, 0),
    ):
        try:
            key = build(text)
        except UsageError:
            continue
        assert check_key(key) == key


# --- version ids -------------------------------------------------------------------------------


@given(moments, st.integers(1, 10**8), hexes)
def test_version_ids_round_trip(moment: dt.datetime, number: int, digest: str) -> None:
    """An id is read back into its parts, and can be part of a key."""
    version_id = VersionId(moment, number, digest)
    assert parse(str(version_id)) == version_id
    assert keys.check_name(str(version_id)) == str(version_id)
    assert from_iso(to_iso(moment)) == moment


@pytest.mark.parametrize(
    "text",
    [
        *("2026-11-23T13:07:42Z", "2026-11-23T13:07:42.1Z", "2026-11-23T13:07:42.123456"),
        *("2026-11-23T13:07:42.123456+00:00", "2026-11-23T14:07:42.123456+01:00", "2026-11-23", ""),
    ],
)
def test_no_other_text_is_a_moment(text: str) -> None:
    """Moments sort as texts, so each has one text."""
    with pytest.raises(ValueError, match=r"^'|^Invalid"):
        from_iso(text)


@given(moments, moments, hexes, hexes)
def test_a_child_sorts_after_its_parent(
    first: dt.datetime, second: dt.datetime, left: str, right: str
) -> None:
    """Also when the clock went back between the two."""
    parent = str(VersionId(first, 1, left))
    child = str(VersionId(stamp_after(second, parent), 2, right))
    assert child > parent


@given(st.text(max_size=80))
def test_no_other_text_is_a_version_id(text: str) -> None:
    """Whatever is no version id is refused as damage."""
    with contextlib.suppress(Damaged):
        assert str(parse(text)) == text


# --- deltas ------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [CODEC, JsonCodec()], ids=["parquet", "simulation"])
@settings(max_examples=60)
@given(delta=deltas())
def test_deltas_round_trip(codec: DeltaCodec, delta: Delta) -> None:
    """Everything that admission lets in reads back as it was, and equal deltas are equal bytes."""
    body = codec.encode(delta)
    found = codec.decode(body)
    assert found.header == delta.header
    assert dict(found.updates) == dict(delta.updates)
    assert found.deletes == delta.deletes
    assert found.upserts.ids == delta.upserts.ids
    assert_same_rows(rows(found), {each.id: each for each in rows(delta)})
    assert codec.encode(found) == body


def rows(delta: Delta) -> list[Record]:
    """Give a delta's whole records."""
    return [delta.upserts.record(index) for index in range(len(delta.upserts))]


@settings(max_examples=25)
@given(deltas(), st.data())
def test_a_damaged_delta_is_refused(delta: Delta, data: st.DataObject) -> None:
    """One flipped bit or a missing end, anywhere."""
    refuses_damage(CODEC.encode(delta), data, CODEC.decode)


@given(st.binary(max_size=300))
def test_no_other_bytes_are_a_delta(body: bytes) -> None:
    """Whatever is no delta is refused as damage."""
    with pytest.raises(Damaged):
        CODEC.decode(body)


def refuses_damage(body: bytes, data: st.DataObject, read: Callable[[bytes], object]) -> None:
    """Check that a damaged body is refused by an error of ours, and by no other."""
    position = data.draw(st.integers(0, len(body) - 1))
    bit = data.draw(st.integers(0, 7))
    flipped = bytearray(body)
    flipped[position] ^= 1 << bit
    for damaged in (bytes(flipped), body[:position], body + b"\x00"):
        if damaged == body:
            continue
        with pytest.raises((Damaged, Unsupported)) as caught:
            read(damaged)
        assert isinstance(caught.value, ChromasealError)


# --- digests of records ------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=8), max_size=8), st.randoms(use_true_random=False))
def test_multiset_hashes_know_no_order(elements: list[bytes], random: object) -> None:
    """The sum is the same in any order, balances, and reads back from its text."""
    shuffled = list(elements)
    random.shuffle(shuffled)  # type: ignore[attr-defined] # a random.Random
    total = multiset.of_digests(elements)
    assert multiset.of_digests(shuffled) == total
    assert multiset.from_text(total.to_text()) == total
    half = len(elements) // 2
    left, right = multiset.of_digests(shuffled[:half]), multiset.of_digests(shuffled[half:])
    assert left + right == total
    assert total - left == right
    assert total + multiset.of_digests([b"one more"]) != total


def test_multiset_hashes_count_repetition() -> None:
    """An element that occurs twice is not the same as one that occurs once or not at all."""
    sums = [multiset.of_digests([b"x"] * count) for count in range(4)]
    assert all(a != b for i, a in enumerate(sums) for b in sums[i + 1 :])


@given(records("a"), records("b"))
def test_different_records_have_different_digests(left: Record, right: Record) -> None:
    """Id, vector, document and metadata each count."""
    digest = record_digest(left)
    assert record_digest(replace_record(left)) == digest
    assert record_digest(right) != digest
    moved = left.embedding.copy()
    moved[0] = np.nextafter(moved[0], np.float32(0)) if moved[0] else np.float32(1)
    assert record_digest(replace_record(left, embedding=moved)) != digest
    assert record_digest(replace_record(left, document=(left.document or "") + "x")) != digest
    assert record_digest(replace_record(left, metadata={**left.metadata, "new key": 1})) != digest


def replace_record(old: Record, **parts: object) -> Record:
    """Give a copy of a record with some parts changed."""
    return replace(old, **parts)  # type: ignore[arg-type] # by name


def test_near_misses_have_different_digests() -> None:
    """No document is not an empty one; 1, 1.0, True and "1" are four values; parts do not run."""
    variants = [
        record("a", 1, document=None),
        record("a", 1, document=""),
        record("a", 1, document="d"),
        *(record("a", 1, key=value) for value in (1, 1.0, True, "1", [1], [1, 1], ["1"])),
        record("ad", 1, document=""),
        record("a", 1, document="dd"),
    ]
    assert len({record_digest(each) for each in variants}) == len(variants)
