"""A manifest reads back as it was written, and refuses whatever contradicts itself or its id."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chromaseal import multiset
from chromaseal.clock import from_iso, to_iso
from chromaseal.digests import blake3_hex
from chromaseal.embedding import ModelPin
from chromaseal.errors import Damaged, Unsupported
from chromaseal.seal.evidence import CheckEntry, CollectionSummary, FileEntry, RecordSummary
from chromaseal.snapshot import manifest as manifests
from chromaseal.snapshot.manifest import (
    LayerEntry,
    Manifest,
    MergedRun,
    PageEntry,
    Parent,
    PartEntry,
    PastVersion,
)
from chromaseal.snapshot.version_id import VersionId, parse
from chromaseal.testing.manifest_line import BLANK

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
moments = st.integers(0, 10**15).map(lambda us: START + dt.timedelta(microseconds=us))
hexes = st.text("0123456789abcdef", min_size=32, max_size=32)
counts = st.integers(0, 2**53 - 1)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", fullmatch=True)
object_names = st.from_regex(r"[0-9a-z][0-9a-z-]{0,127}", fullmatch=True)
collections = st.sampled_from(["abc", "a.b-c_d", "x" * 250])

run_lists = st.lists(
    st.builds(MergedRun, names, moments.map(to_iso), st.integers(1, 9)),
    max_size=4,
    unique_by=lambda run: run.run_id,
)
paths = st.lists(
    st.sampled_from(["chroma.sqlite3", "a/data_level0.bin", "ü/x"]), min_size=1, unique=True
)
checks = st.builds(CheckEntry, names, st.text(max_size=9), st.floats(0, 9))
sums = st.builds(RecordSummary, counts, st.just(multiset.EMPTY.to_text()))
summaries = st.builds(
    CollectionSummary, collections, sums, st.none() | st.integers(1, 999), st.just("l2")
)
# Small enough that those of all parts, or of all files, come to a number that JSON holds too.
sizes_bytes = st.integers(0, 2**40)
parts = st.builds(
    lambda sizes, digest: PartEntry(max(sizes), min(sizes), digest),
    st.tuples(sizes_bytes, sizes_bytes),
    hexes,
)
part_lists = st.lists(parts, max_size=2).map(tuple)


@st.composite
def pasts(draw: st.DrawFn, number: int) -> PastVersion:
    """Give what is remembered of the version of a number."""
    return PastVersion(
        version_id=str(VersionId(draw(moments), number, draw(hexes))),
        records=draw(counts),
        size_bytes=draw(counts),
        stored_bytes=draw(counts),
        restores=draw(st.none() | st.integers(1, number - 1)) if number > 1 else None,
        runs=tuple(draw(st.lists(st.tuples(names, moments.map(to_iso)), max_size=2))),
    )


@st.composite
def chains(draw: st.DrawFn, number: int) -> tuple[LayerEntry, ...]:
    """Give a base and diffs that lead to a number without gaps."""
    ends = sorted({number, *draw(st.lists(st.integers(1, number), max_size=4))})
    base = LayerEntry(draw(object_names), "base", ends[0], ends[0], 0, draw(part_lists))
    diffs = [
        LayerEntry(
            draw(object_names), "diff", before + 1, end, draw(st.integers(0, 3)), draw(part_lists)
        )
        for before, end in itertools.pairwise(ends)
    ]
    return (base, *diffs)


@st.composite
def manifest_cases(draw: st.DrawFn) -> Manifest:
    """Give manifests of first and later versions."""
    number = draw(st.integers(1, 9))
    listed = draw(st.integers(0, number - 1))
    ends = sorted({listed, *draw(st.lists(st.integers(1, listed), max_size=2))}) if listed else []
    past = tuple(draw(pasts(each)) for each in range(listed + 1, number))
    parent = past[-1].version_id if past else draw(names)
    step = LayerEntry(draw(object_names), "diff", number, number, 0, draw(part_lists))
    return Manifest(
        collection=draw(collections),
        number=number,
        created_at=to_iso(draw(moments)),
        attempt=draw(hexes),
        parent=None if number == 1 else Parent(parent, draw(hexes)),
        writer=draw(st.dictionaries(names, st.text(max_size=9), max_size=3)),
        model=draw(st.none() | st.builds(ModelPin, names, names, hexes, st.integers(1, 999))),
        records=draw(sums),
        collections=tuple(draw(st.lists(summaries, max_size=2))),
        runs=tuple(draw(run_lists)),
        restores=draw(st.none() | st.integers(1, number - 1)) if number > 1 else None,
        pages=tuple(
            PageEntry(draw(object_names), first + 1, last, draw(counts), draw(hexes))
            for first, last in itertools.pairwise([0, *ends])
        ),
        past=past,
        files=tuple(FileEntry(p, draw(sizes_bytes), draw(hexes)) for p in draw(paths)),
        layers=draw(chains(number)),
        step=draw(st.none() | st.just(step)),
        packed_bytes=draw(counts),
        checks=tuple(draw(st.lists(checks, max_size=2))),
    )


@settings(max_examples=50)
@given(manifest_cases())
def test_manifests_round_trip(manifest: Manifest) -> None:
    """A manifest reads back as it was written, under the id that its bytes give it."""
    version, body = manifests.encode(manifest)
    assert manifests.decode(version.version_id, body) == version
    assert version.manifest == manifest
    assert manifests.past_of(manifests.past_row(version.as_past)) == version.as_past


@settings(max_examples=25)
@given(manifest_cases(), st.data())
def test_a_damaged_manifest_is_refused(manifest: Manifest, data: st.DataObject) -> None:
    """One flipped bit or a missing end, anywhere."""
    version, body = manifests.encode(manifest)
    position = data.draw(st.integers(0, len(body) - 1))
    flipped = bytearray(body)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(flipped), body[:position], body + b"\0"):
        with pytest.raises(Damaged):
            manifests.decode(version.version_id, damaged)


FIRST = replace(
    BLANK,
    collection="abc",
    writer={"chromaseal": "9.8.7"},
    files=(FileEntry("a", 1, "x"),),
    layers=(LayerEntry("base", "base", 1, 1, 0, (PartEntry(9, 5, "x"),)),),
)
PAST = tuple(PastVersion(str(VersionId(START, n, "ab" * 16)), 0, 0, 0, None, ()) for n in (1, 2))
THIRD = replace(
    FIRST,
    number=3,
    parent=Parent(PAST[1].version_id, "d"),
    past=PAST,
    layers=(
        LayerEntry("base", "base", 1, 1, 0, ()),
        LayerEntry("fold", "diff", 2, 3, 1, (PartEntry(9, 5, "x"),)),
    ),
)


def with_layers(*layers: tuple[str, int, int]) -> Manifest:
    """Give the third version with other layers: kind, first and last."""
    return replace(THIRD, layers=tuple(LayerEntry("x", k, a, b, 0, ()) for k, a, b in layers))


@pytest.mark.parametrize(
    "bad",
    [
        replace(FIRST, number=2),
        replace(FIRST, parent=Parent("v", "d")),
        replace(FIRST, runs=(MergedRun("r", FIRST.created_at, 1),) * 2),
        replace(FIRST, files=(*FIRST.files, *FIRST.files)),
        *(
            replace(FIRST, files=(FileEntry(path, 1, "x"),))
            for path in ("../a", "a/../../b", "/a", "", "a//b", ".", "a/.", "a\\b", "a\0b")
        ),
        replace(FIRST, files=()),
        replace(FIRST, restores=1),
        replace(THIRD, restores=3),
        replace(THIRD, restores=0),
        replace(THIRD, past=PAST[:1]),
        replace(THIRD, past=PAST[1:]),
        replace(THIRD, past=PAST[::-1]),
        replace(THIRD, parent=Parent(PAST[0].version_id, "d")),
        replace(THIRD, pages=(PageEntry("p", 1, 1, 9, "x"),)),
        replace(THIRD, pages=(PageEntry("p", 2, 2, 9, "x"),), past=()),
        with_layers(),
        with_layers(("diff", 1, 3)),
        with_layers(("base", 1, 1)),
        with_layers(("base", 1, 1), ("diff", 3, 3)),
        with_layers(("base", 1, 1), ("diff", 2, 4)),
        with_layers(("base", 1, 1), ("base", 2, 3)),
        replace(FIRST, layers=(LayerEntry("b", "base", 1, 1, 0, (PartEntry(4, 5, "x"),)),)),
        replace(FIRST, layers=(LayerEntry("../b", "base", 1, 1, 0, ()),)),
        replace(THIRD, pages=(PageEntry("../p", 1, 2, 9, "x"),), past=()),
    ],
)
def test_manifests_that_contradict_themselves_are_refused(bad: Manifest) -> None:
    """What decode would refuse, encode does not write; decode refuses it from anybody else."""
    with pytest.raises(Damaged):
        manifests.encode(bad)
    plain = asdict(bad) | {"past": [manifests.past_row(past) for past in bad.past]}
    with pytest.raises(Damaged):
        manifests.decode(*body_of(plain))


@pytest.mark.parametrize(
    "wrong",
    [
        {"past": [[PAST[0].version_id, 0, 0, 0, 1, []], manifests.past_row(PAST[1])]},
        {"past": [["no id", 0, 0, 0, None, []], manifests.past_row(PAST[1])]},
        {"past": [[PAST[0].version_id, 0], manifests.past_row(PAST[1])]},
        {"past": 7},
        {"restores": "2"},
        {"number": "3"},
        {"created_at": "yesterday"},
        {"files": [{"path": "a"}]},
        {"files": [{"path": "a", "size_bytes": None, "digest": "x"}]},
        {"files": [{"path": "a", "size_bytes": -1, "digest": "x"}]},
        {"files": [{"path": "a", "size_bytes": 1 << 53, "digest": "x"}]},
        {"packed_bytes": -1},
        {"layers": [{}]},
        {"step": [1]},
        {"format": "another"},
    ],
)
def test_whatever_is_no_manifest_is_refused(wrong: dict[str, object]) -> None:
    """Fields that lack or hold something else are damage, though the digest is right."""
    plain = asdict(THIRD) | {"past": [manifests.past_row(past) for past in PAST]}
    assert manifests.decode(*body_of(plain)).manifest == THIRD
    with pytest.raises(Damaged):
        manifests.decode(*body_of(plain | wrong))


@pytest.mark.parametrize(
    "other",
    [
        {"number": 4},
        {"created_at": from_iso(THIRD.created_at) + dt.timedelta(microseconds=1)},
        {"digest_prefix": "0" * 32},
    ],
)
def test_an_id_says_what_its_manifest_says(other: dict[str, Any]) -> None:
    """Under an id of another number, time or digest a sound manifest is refused."""
    version, body = manifests.encode(THIRD)
    own = parse(version.version_id)
    assert manifests.decode(str(replace(own)), body) == version
    with pytest.raises(Damaged) as caught:
        manifests.decode(str(replace(own, **other)), body)
    assert caught.value.kind == "bad-manifest"


def test_other_formats_are_refused_with_the_release_that_reads_them() -> None:
    """A newer or older format names the release that wrote it, before anything else is read."""
    for number, kind in ((3, "newer-version"), (1, "older-version")):
        plain = {"format_version": number, "writer": {"chromaseal": "9.8.7"}, "number": 3}
        with pytest.raises(Unsupported) as caught:
            manifests.decode(*body_of(plain))
        assert caught.value.kind == kind
        assert "9.8.7" in caught.value.hint


def body_of(plain: Mapping[str, object]) -> tuple[str, bytes]:
    """Give the id and bytes of a manifest that nobody checked."""
    full = {"format": "chromaseal.version", "format_version": 2, **plain}
    body = manifests.to_json(full)
    return str(VersionId(from_iso(THIRD.created_at), 3, blake3_hex(body)[:32])), body
