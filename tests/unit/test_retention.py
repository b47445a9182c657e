"""Which versions stay and which objects go: decided over names, without any store."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from typing import Any

import pytest

from chromaseal import keys
from chromaseal.clock import to_iso
from chromaseal.errors import UsageError
from chromaseal.snapshot.manifest import (
    BASE,
    DIFF,
    LayerEntry,
    PageEntry,
    Parent,
    PartEntry,
    PastVersion,
    Version,
)
from chromaseal.snapshot.retention import (
    Policy,
    doomed_deltas,
    doomed_objects,
    reached,
    versions_to_keep,
)
from chromaseal.snapshot.version_id import VersionId
from chromaseal.testing.clock import START
from chromaseal.testing.manifest_line import BLANK, NAME

PART = PartEntry(9, 5, "x")
EVERYTHING = frozenset(range(1, 11))


def past(number: int) -> PastVersion:
    """Give a version that was made a day after the one before; the tenth one is a day old."""
    moment = START - dt.timedelta(days=11 - number)
    version_id = str(VersionId(moment, number, f"{number:032x}"))
    return PastVersion(version_id, 0, 0, 0, None, ((f"run-{number}", to_iso(moment)),))


LINE = [past(number) for number in range(1, 11)]
IDS = {each.version_id: each.number for each in LINE}


def kept(policy: Policy, *tagged: int) -> frozenset[int]:
    """Give the numbers of the versions that stay."""
    ids = {LINE[number - 1].version_id for number in tagged} | {"a tag of another line"}
    return frozenset(IDS[each] for each in versions_to_keep(LINE, ids, policy, START))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), EVERYTHING),
        (Policy(deltas_after=1), EVERYTHING),
        (Policy(keep_last=3), {8, 9, 10}),
        (Policy(keep_last=1), {10}),
        (Policy(keep_last=0), {10}),
        (Policy(keep_last=99), EVERYTHING),
        (Policy(keep_days=2), {9, 10}),
        (Policy(keep_days=2.5), {9, 10}),
        (Policy(keep_days=0), {10}),
        (Policy(keep_days=1000), EVERYTHING),
        (Policy(keep_days=1e6), EVERYTHING),
        (Policy(keep_days=float("inf")), EVERYTHING),
        (Policy(keep_last=3, keep_days=1), {8, 9, 10}),
        (Policy(keep_last=1, keep_days=4), {7, 8, 9, 10}),
    ],
)
def test_any_rule_keeps_a_version(policy: Policy, expected: set[int]) -> None:
    """Each rule keeps what it says; without rules everything stays; the newest always does."""
    assert kept(policy) == expected
    assert kept(policy, 2, 5) == expected | {2, 5}


@pytest.mark.parametrize(
    "rule", [{"keep_last": -1}, {"keep_days": -0.1}, {"keep_days": math.nan}, {"deltas_after": -1}]
)
def test_a_rule_that_nothing_can_mean_is_refused(rule: dict[str, Any]) -> None:
    """A negative number would keep less than nothing said at all."""
    with pytest.raises(UsageError, match="cannot be"):
        Policy(**rule)


def test_no_version_at_all_is_no_error() -> None:
    """An empty line keeps nothing."""
    assert versions_to_keep([], {"x"}, Policy(keep_last=1), START) == frozenset()


# --- objects -----------------------------------------------------------------------------------


def prefix(number: int, attempt: str = "a") -> str:
    """Give how the names of an attempt's objects begin."""
    return f"{number:06d}-{attempt * 32}"


def layer(number: int, what: str, parts: int = 1) -> LayerEntry:
    """Make a layer of the attempt that became a version."""
    kind = BASE if what == "base" else DIFF
    return LayerEntry(f"{prefix(number)}-{what}", kind, number, number, 0, (PART,) * parts)


def version(number: int, *layers: LayerEntry, step: LayerEntry | None = None) -> Version:
    """Make a version; what retention does not look at is empty."""
    manifest = replace(
        BLANK,
        number=number,
        attempt="a" * 32,
        parent=Parent("x", "x"),
        pages=(PageEntry(prefix(3), 1, 3, 9, "x"),),
        layers=layers,
        step=step,
    )
    return Version(LINE[number - 1].version_id, "digest", manifest)


def part(number: int, what: str, index: int = 0, attempt: str = "a") -> str:
    """Give the key of a layer's object."""
    return keys.layer_part(NAME, f"{prefix(number, attempt)}-{what}", index)


def test_a_version_reaches_its_chain_its_step_and_its_history() -> None:
    """Every object that reading it, stepping to it, or its log takes."""
    newest = version(5, layer(4, "base", parts=2), layer(5, "step"), step=layer(5, "other"))
    assert reached(newest) == {
        keys.manifest(NAME, newest.version_id),
        part(4, "base"),
        part(4, "base", 1),
        part(5, "step"),
        part(5, "other"),
        keys.history_page(NAME, prefix(3)),
    }
    alone = version(5, layer(5, "base"))
    assert part(5, "other") not in reached(alone)


def test_what_is_not_reached_goes_and_what_is_newer_stays() -> None:
    """Attempts at numbers that are taken go; those at a number to come may still become it."""
    head = version(5, layer(5, "base"))
    lost = str(VersionId(START, 5, "f" * 32))
    to_come = str(VersionId(START, 6, "f" * 32))
    staying = {
        *reached(head),
        part(6, "step", attempt="b"),
        part(7, "base", attempt="c"),
        keys.history_page(NAME, prefix(6)),
        keys.manifest(NAME, to_come),
        # Of somebody else, who put them below our prefixes.
        f"{NAME}/layer/readme.txt",
        f"{NAME}/layer/000001-notes.layer.bak",
        keys.manifest(NAME, "no-version-id"),
        f"{NAME}/snapshot/timestamped/{lost}/notes.txt",
    }
    going = {
        keys.manifest(NAME, LINE[0].version_id),
        keys.manifest(NAME, lost),
        part(1, "base"),
        part(5, "step", attempt="b"),
        keys.history_page(NAME, prefix(2)),
    }
    objects = dict.fromkeys(sorted(staying | going), 7)
    doomed = doomed_objects(objects, reached(head), head.manifest, LINE[:5])
    assert {each.key for each in doomed} == going
    assert {each.size_bytes for each in doomed} == {7}
    why = {each.key: each.why for each in doomed}
    assert why[keys.manifest(NAME, LINE[0].version_id)] == "version 1, which no rule keeps"
    assert "another one became" in why[keys.manifest(NAME, lost)]
    assert "no version that stays needs it" in why[part(1, "base")]


def test_manifests_go_before_what_they_name() -> None:
    """Whoever finds a manifest while garbage is collected finds its layers as well."""
    head = version(5, layer(5, "base"))
    going = [part(1, "base"), keys.manifest(NAME, LINE[0].version_id), part(2, "step")]
    doomed = doomed_objects(dict.fromkeys(going, 1), reached(head), head.manifest, LINE[:5])
    assert [keys.parse_manifest(each.key) is None for each in doomed] == [False, True, True]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (None, set()),
        (0, set(range(1, 11))),
        (1, set(range(1, 11))),
        (2, set(range(1, 10))),
        (9, set()),
    ],
)
def test_deltas_go_once_enough_versions_contain_them(after: int | None, expected: set[int]) -> None:
    """Only versions that stay count; deltas that wait, or of nobody's run, stay."""
    objects = {keys.delta(NAME, f"run-{n}", ".parquet"): 3 for n in range(1, 13)}
    objects[f"{NAME}/delta/readme.txt"] = 3
    staying = frozenset(LINE[number - 1].version_id for number in (7, 8, 9, 10))
    policy = replace(Policy(), deltas_after=after)
    doomed = doomed_deltas(objects, LINE, staying, policy)
    numbers = {int(each.key.split("/")[2].removeprefix("run-")) for each in doomed}
    assert numbers == expected
