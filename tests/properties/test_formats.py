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
from chromaseal.delta.model import Delta
from chromaseal.digests import PAGE_SIZE_BYTES
from chromaseal.embedding import ModelPin
from chromaseal.errors import ChromasealError, Damaged, Unsupported, UsageError
from chromaseal.object_store import check_key
from chromaseal.record import Record, record_digest
from chromaseal.seal.evidence import CheckEntry, FileEntry, RecordSummary
from chromaseal.snapshot import manifest as manifests
from chromaseal.snapshot.layer import LayerWriter, read_chunk, read_index
from chromaseal.snapshot.manifest import LayerEntry, Manifest, MergedRun, Parent
from chromaseal.snapshot.version_id import VersionId, parse, stamp_after
from chromaseal.testing.oracle import assert_same_rows
from chromaseal.testing.records import record
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
    for key in (
        keys.delta(collection, name, ".parquet"),
        keys.manifest(collection, name),
        keys.collection(collection),
        keys.pointer(collection),
        keys.layer(collection, name),
        keys.original(name),
        keys.reading(name, name),
    ):
        assert check_key(key) == key


@given(st.text(max_size=300))
def test_no_name_builds_a_bad_key(text: str) -> None:
    """Any text at all is either refused or gives a key that every store takes."""
    for build in (keys.collection, keys.pointer, keys.original, lambda t: keys.layer("abc", t)):
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


# --- manifests ---------------------------------------------------------------------------------

run_lists = st.lists(
    st.builds(MergedRun, names, moments.map(to_iso), st.integers(1, 9)),
    max_size=4,
    unique_by=lambda run: run.run_id,
)
paths = st.lists(st.sampled_from(["chroma.sqlite3", "a/data_level0.bin", "ü/x"]), unique=True)
checks = st.builds(CheckEntry, names, st.text(max_size=9), st.floats(0, 9))
layers = st.builds(
    LayerEntry, names, st.just("base"), st.integers(0), hexes, st.integers(0), st.integers(0), hexes
)


@st.composite
def manifest_cases(draw: st.DrawFn) -> Manifest:
    """Give manifests of first and later versions."""
    number = draw(st.integers(1, 9))
    return Manifest(
        collection=draw(collections),
        number=number,
        created_at=to_iso(draw(moments)),
        attempt=draw(hexes),
        parent=None if number == 1 else Parent(draw(names), draw(hexes)),
        writer=draw(st.dictionaries(names, st.text(max_size=9), max_size=3)),
        model=draw(st.none() | st.builds(ModelPin, names, names, hexes, st.integers(1, 999))),
        records=RecordSummary(draw(st.integers(0)), multiset.EMPTY.to_text()),
        runs=tuple(draw(run_lists)),
        files=tuple(FileEntry(p, draw(st.integers(0)), draw(hexes)) for p in draw(paths)),
        layers=tuple(draw(st.lists(layers, max_size=2))),
        checks=tuple(draw(st.lists(checks, max_size=2))),
    )


@settings(max_examples=50)
@given(manifest_cases())
def test_manifests_round_trip(manifest: Manifest) -> None:
    """A manifest reads back as it was written, under the id that its bytes give it."""
    version, body = manifests.encode(manifest)
    assert manifests.decode(version.version_id, body) == version
    assert version.manifest == manifest


@settings(max_examples=25)
@given(manifest_cases(), st.data())
def test_a_damaged_manifest_is_refused(manifest: Manifest, data: st.DataObject) -> None:
    """One flipped bit or a missing end, anywhere."""
    version, body = manifests.encode(manifest)
    refuses_damage(body, data, lambda damaged: manifests.decode(version.version_id, damaged))


def test_manifests_that_contradict_themselves_are_refused() -> None:
    """What decode would refuse, encode does not write."""
    good = Manifest(
        "abc", 1, to_iso(dt.datetime(2026, 1, 1, tzinfo=dt.UTC)), "0" * 32, None, {}, None,
        RecordSummary(0, ""), (), (FileEntry("a", 1, "x"),), (), (),
    )  # fmt: skip
    run = MergedRun("r", good.created_at, 1)
    for bad in (
        replace(good, number=2),
        replace(good, parent=Parent("v", "d")),
        replace(good, runs=(run, run)),
        replace(good, files=(*good.files, *good.files)),
        *(replace(good, files=(FileEntry(p, 1, "x"),)) for p in ("../a", "/a", "", "a//b", ".")),
    ):
        with pytest.raises(Damaged):
            manifests.encode(bad)


# --- layers ------------------------------------------------------------------------------------

sizes = st.sampled_from([0, 1, 4095, 4096, 4097, 3 * 4096, 5 * 4096 + 7]) | st.integers(0, 20_000)


@settings(max_examples=30)
@given(st.lists(sizes, min_size=1, max_size=4), st.integers(0, 1 << 30), st.integers(1, 4))
def test_layers_round_trip(file_sizes: list[int], seed: int, pages_at_once: int) -> None:
    """Files of any size come back page by page from the index and the chunks alone."""
    random = np.random.default_rng(seed)
    files = {f"f{n}": random.bytes(size) for n, size in enumerate(file_sizes)}
    step = pages_at_once * PAGE_SIZE_BYTES
    writer = LayerWriter()
    for path, content in files.items():
        for start in range(0, len(content), step):
            writer.add(path, start // PAGE_SIZE_BYTES, content[start : start + step])
    entry, body = writer.finish("layer", "base")
    found = {path: bytearray(len(content)) for path, content in files.items()}
    for chunk in read_index(entry, index_of(entry, body)):
        frame = body[chunk.offset : chunk.offset + chunk.frame_size_bytes]
        pages = read_chunk(entry, chunk, frame)
        found[chunk.path][chunk.file_offset : chunk.file_offset + len(pages)] = pages
    assert found == files
    assert entry.size_bytes == len(body)


def index_of(entry: LayerEntry, body: bytes) -> bytes:
    """Give the index's bytes."""
    return body[entry.index_offset : entry.index_offset + entry.index_size_bytes]


@settings(max_examples=25)
@given(st.data())
def test_a_damaged_layer_is_refused(data: st.DataObject) -> None:
    """One flipped bit or a missing end, in the index or in a chunk."""
    content = np.random.default_rng(1).bytes(6_000) + bytes(6_000)
    writer = LayerWriter()
    writer.add("file", 0, content)
    entry, body = writer.finish("layer", "base")
    refuses_damage(index_of(entry, body), data, lambda damaged: read_index(entry, damaged))
    (chunk,) = read_index(entry, index_of(entry, body))
    frame = body[chunk.offset : chunk.offset + chunk.frame_size_bytes]

    def read(damaged: bytes) -> None:
        if read_chunk(entry, chunk, damaged) == content:
            # zstd has a bit in its header that means nothing: what came out is right.
            raise Damaged("nothing was lost")

    refuses_damage(frame, data, read)


# --- deltas ------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(deltas())
def test_deltas_round_trip(delta: Delta) -> None:
    """Everything that admission lets in reads back as it was, and equal deltas are equal bytes."""
    body = CODEC.encode(delta)
    found = CODEC.decode(body)
    assert found.header == delta.header
    assert dict(found.updates) == dict(delta.updates)
    assert found.deletes == delta.deletes
    assert found.upserts.ids == delta.upserts.ids
    assert_same_rows(rows(found), {each.id: each for each in rows(delta)})
    assert CODEC.encode(found) == body


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
