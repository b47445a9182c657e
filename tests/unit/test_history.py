"""The line of versions: whole, cheap to read, and what a person calls one of them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.clock import to_iso
from chromaseal.digests import blake3_hex
from chromaseal.errors import Damaged, NotFound, Unsupported
from chromaseal.ids import SystemIds
from chromaseal.object_store import ObjectStore
from chromaseal.snapshot.find import VersionName, find, parse_moment
from chromaseal.snapshot.garbage import collect
from chromaseal.snapshot.history import (
    PAGE_VERSIONS,
    head,
    line,
    load,
    load_all,
    merged_runs,
)
from chromaseal.snapshot.log import log_entries
from chromaseal.snapshot.manifest import MergedRun, Parent, PastVersion, Version, encode, to_json
from chromaseal.snapshot.removal import removed_versions, write_removal
from chromaseal.snapshot.retention import Policy
from chromaseal.snapshot.tags import write_tag
from chromaseal.snapshot.version_id import VersionId, parse
from chromaseal.testing.clock import START, ManualClock
from chromaseal.testing.manifest_line import NAME, ManifestLine


@pytest.fixture(scope="module")
def two_hundred() -> ManifestLine:
    """Give a line of 200 versions, which nobody changes."""
    made = ManifestLine()
    made.grow(200)
    return made


# --- the line ----------------------------------------------------------------------------------


def test_the_line_is_complete(two_hundred: ManifestLine) -> None:
    """Every one of 200 versions remembers all before it, in the order of their numbers."""
    for index in (0, 1, 62, 63, 64, 65, 127, 128, 129, 199):
        version = two_hundred.versions[index]
        found = line(two_hundred.store, version)
        assert found == [each.as_past for each in two_hundred.versions[: index + 1]]
        assert [each.number for each in found] == list(range(1, index + 2))
    newest = head(two_hundred.store, NAME).version
    assert newest == two_hundred.versions[-1]
    logged = [entry.version for entry in log_entries(two_hundred.store, NAME)]
    assert logged == [each.as_past for each in reversed(two_hundred.versions)]


def test_pages_spill_at_sixty_four(two_hundred: ManifestLine) -> None:
    """No manifest lists 64 versions itself, so none grows with the number of versions."""
    for version in two_hundred.versions:
        manifest = version.manifest
        pages, listed = divmod(manifest.number - 1, PAGE_VERSIONS)
        assert (len(manifest.pages), len(manifest.past)) == (pages, listed)
        assert [page.last for page in manifest.pages] == [64, 128, 192][:pages]
    stored = list(two_hundred.store.list(keys.history_pages(NAME)))
    assert len(stored) == 3
    assert [keys.attempt_number(info.key) for info in stored] == [65, 129, 193]


def test_the_whole_line_takes_a_request_per_page(two_hundred: ManifestLine) -> None:
    """200 versions are read in three requests beside the head's own two."""
    before = two_hundred.store.usage
    newest = head(two_hundred.store, NAME).version
    assert newest is not None
    assert len(line(two_hundred.store, newest)) == 200
    assert two_hundred.store.usage.since(before).requests == 5


def test_versions_load_in_the_order_asked_for(two_hundred: ManifestLine) -> None:
    """Several versions at once come back each in its place."""
    ids = [version.version_id for version in two_hundred.versions[150:20:-7]]
    assert [v.version_id for v in load_all(two_hundred.store, NAME, ids)] == ids


@pytest.mark.parametrize("damage", ["flipped", "gone", "other"])
def test_a_damaged_page_of_history_is_refused(damage: str) -> None:
    """A page is what the manifest says, or the line is not read at all; the error names it."""
    made = ManifestLine()
    made.grow(66)
    newest = made.versions[-1]
    (info,) = made.store.list(keys.history_pages(NAME))
    body = made.inner.get(info.key).body
    made.inner.delete(info.key)
    if damage == "flipped":
        made.inner.create(info.key, body.replace(b"1", b"2", 1))
    elif damage == "other":
        rows = json.loads(body)["past"]
        made.inner.create(info.key, json.dumps({"past": rows[1:]}).encode())
    with pytest.raises(Damaged) as caught:
        line(made.store, newest)
    assert info.key in caught.value.message
    assert head(made.store, NAME).version == newest


def forged_page(made: ManifestLine, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Version:
    """Give the newest version, as it would be with another page of history, its digest right."""
    newest = made.versions[-1].manifest
    (page,) = newest.pages
    body = to_json(change(json.loads(made.inner.get(keys.history_page(NAME, page.page_id)).body)))
    forged = replace(page, page_id="forged", size_bytes=len(body), digest=blake3_hex(body))
    made.inner.create(keys.history_page(NAME, "forged"), body)
    return encode(replace(newest, pages=(forged,)))[0]


@pytest.mark.parametrize(
    "pick",
    [
        lambda rows: rows[1:],
        lambda rows: [*rows[:9], *rows[10:]],
        lambda rows: rows[:-1],
        lambda rows: [*rows[:9], rows[8], *rows[10:]],
        lambda rows: [rows[1], rows[0], *rows[2:]],
    ],
)
def test_a_page_of_history_has_every_version_once(pick: Callable[[list[Any]], list[Any]]) -> None:
    """A page that lacks, repeats or mixes up versions is refused, though its digest is right."""
    made = ManifestLine()
    made.grow(66)
    newest = forged_page(made, lambda raw: raw | {"past": pick(raw["past"])})
    with pytest.raises(Damaged, match="gaps") as caught:
        line(made.store, newest)
    assert caught.value.kind == "bad-manifest"


def test_lists_in_a_newer_format_are_refused() -> None:
    """History and removals that this release does not know are not taken for what it knows."""
    made = ManifestLine()
    made.grow(66)
    newest = forged_page(made, lambda raw: raw | {"format_version": 2})
    write_removal(made.inner, NAME, "1", ["x"])
    raw = json.loads(made.inner.get(keys.gc(NAME, "1")).body)
    made.inner.create(keys.gc(NAME, "2"), to_json(raw | {"format_version": 2}))
    for act in (lambda: line(made.store, newest), lambda: removed_versions(made.store, NAME)):
        with pytest.raises(Unsupported) as caught:
            act()
        assert caught.value.kind == "newer-version"


def test_a_page_of_history_ends_at_the_parent() -> None:
    """Where pages alone list what came before, the last one of them has to lead to the parent."""
    made = ManifestLine()
    made.grow(65)
    newest = made.versions[-1].manifest
    assert newest.past == ()
    other = replace(parse(made.versions[-2].version_id), digest_prefix="0" * 32)
    forged, _ = encode(replace(newest, parent=Parent(str(other), "0" * 64)))
    with pytest.raises(Damaged, match="does not end at its parent"):
        line(made.store, forged)


def test_a_version_of_another_collection_is_refused(two_hundred: ManifestLine) -> None:
    """A manifest that was copied under another collection's prefix is not that collection's."""
    version_id = two_hundred.versions[3].version_id
    body = two_hundred.inner.get(keys.manifest(NAME, version_id)).body
    other = ObstoreObjectStore("memory://")
    other.create(keys.manifest("other", version_id), body)
    with pytest.raises(Damaged) as caught:
        load(other, "other", version_id)
    assert caught.value.kind == "bad-manifest"
    assert blake3_hex(body)[:32] in version_id


# --- runs along the line -----------------------------------------------------------------------


def past(number: int, restores: int | None, run_ids: Sequence[str]) -> PastVersion:
    """Give a version that merged runs, or brought another one's content back."""
    version_id = str(VersionId(START, number, "0" * 32))
    return PastVersion(version_id, 0, 0, 0, restores, tuple((r, f"at {r}") for r in run_ids))


def names_of(runs: Sequence[MergedRun]) -> str:
    """Give the ids of runs as one text."""
    return "".join(run.run_id for run in runs)


def test_a_rollback_undoes_what_was_merged_since() -> None:
    """Also one rollback over another, and one to before another."""
    versions = [
        past(1, None, "a"),
        past(2, None, "b"),
        past(3, 1, ""),  # a
        past(4, None, "c"),  # a c
        past(5, 2, ""),  # a b
        past(6, None, "d"),  # a b d
        past(7, 4, ""),  # a c
        past(8, 7, ""),  # a c
        past(9, 3, ""),  # a
    ]
    expected = ["a", "ab", "a", "ac", "ab", "abd", "ac", "ac", "a"]
    for number, effective in enumerate(expected, 1):
        found = merged_runs(versions[:number])
        assert names_of(found.effective) == effective, number
    assert names_of(merged_runs(versions).contained) == "abcd"


def test_runs_come_in_the_order_of_their_age() -> None:
    """Whichever version merged them; each names that version."""
    versions = [past(1, None, "m"), past(2, None, "az"), past(3, None, "k")]
    found = merged_runs(versions).effective
    assert [(run.run_id, run.number) for run in found] == [("a", 2), ("k", 3), ("m", 1), ("z", 2)]
    assert merged_runs([]).contained == ()


# In place of the number of the version that a rollback restores.
PUSH = -1


@settings(max_examples=100)
@given(st.lists(st.sampled_from([None, PUSH]) | st.integers(0, 99), min_size=1, max_size=30))
def test_effective_runs_equal_a_model_of_sets(steps: list[int | None]) -> None:
    """A rollback's runs are those of the version that it restores; a push begins anew."""
    versions: list[PastVersion] = []
    model: list[set[str]] = []
    for number, step in enumerate(steps, 1):
        if step is None or number == 1:
            versions.append(past(number, None, [f"r{number}"]))
            model.append({*(model[-1] if model else ()), f"r{number}"})
        elif step == PUSH:
            versions.append(past(number, None, []))
            model.append(set())
        else:
            restores = step % (number - 1) + 1
            versions.append(past(number, restores, []))
            model.append(model[restores - 1])
        found = merged_runs(versions)
        assert {run.run_id for run in found.effective} == model[-1]
        assert {run.run_id for run in found.contained} == set().union(*model)


# --- what a person calls a version -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20", dt.datetime(2026, 11, 20, tzinfo=dt.UTC)),
        ("2026-11-20T14:00", dt.datetime(2026, 11, 20, 14, tzinfo=dt.UTC)),
        ("2026-11-20 14:00:05.25", dt.datetime(2026, 11, 20, 14, 0, 5, 250_000, tzinfo=dt.UTC)),
        (
            "2026-11-20 14:00:05",
            dt.datetime(2026, 11, 20, 14, 0, 5, 999_999, tzinfo=dt.UTC),
        ),
        ("20261120_140005", dt.datetime(2026, 11, 20, 14, 0, 5, 999_999, tzinfo=dt.UTC)),
        ("2026-11-20T14:00Z", dt.datetime(2026, 11, 20, 14, tzinfo=dt.UTC)),
        ("2026-11-20T14:00+02:00", dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)),
        ("1 second ago", START - dt.timedelta(seconds=1)),
        ("90 seconds ago", START - dt.timedelta(seconds=90)),
        ("5 minutes ago", START - dt.timedelta(minutes=5)),
        ("5 min ago", START - dt.timedelta(minutes=5)),
        ("2 hours ago", START - dt.timedelta(hours=2)),
        (" 2  HOURS  AGO ", START - dt.timedelta(hours=2)),
        ("1 day ago", START - dt.timedelta(days=1)),
        ("3 weeks ago", START - dt.timedelta(weeks=3)),
        ("0 days ago", START),
        ("99999999999999 weeks ago", None),
        ("999999 days ago", None),
        ("two hours ago", None),
        ("2 hours", None),
        ("-2 hours ago", None),
        ("2026-13-01", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_are_read_as_people_write_them(text: str, expected: dt.datetime | None) -> None:
    """A date, a time with or without an offset, or how long ago; anything else is no time."""
    assert parse_moment(text, START) == expected


def found_number(made: ManifestLine, at: VersionName, clock: ManualClock | None = None) -> int:
    """Give the number of the version that a text names."""
    return find(made.store, NAME, at, clock=clock or made.clock).manifest.number


def test_a_version_is_found_by_number_id_and_time(two_hundred: ManifestLine) -> None:
    """Version n was made n - 1 hours after the start; a time means the newest at that time."""
    assert found_number(two_hundred, "") == 200
    for number in (1, 64, 65, 100, 200):
        version_id = two_hundred.versions[number - 1].version_id
        assert found_number(two_hundred, str(number)) == number
        assert found_number(two_hundred, number) == number
        assert found_number(two_hundred, f"{number:06d}") == number
        assert found_number(two_hundred, version_id) == number
        moment = START + dt.timedelta(hours=number - 1)
        assert found_number(two_hundred, to_iso(moment)) == number
        half = moment + dt.timedelta(minutes=30)
        assert found_number(two_hundred, half.isoformat()) == number
    clock = ManualClock(START + dt.timedelta(hours=10))
    assert found_number(two_hundred, "2 hours ago", clock) == 9
    assert found_number(two_hundred, "2 days ago", ManualClock(START + dt.timedelta(9))) == 169


@pytest.mark.parametrize(
    "at", ["0", "201", "999999999", "2026-11-23T11:59:59", "400 weeks ago", "nothing", "-1", "v1"]
)
def test_what_names_no_version_is_said_to(two_hundred: ManifestLine, at: str) -> None:
    """Numbers beyond the line, times before it and words that are no tag are not found."""
    with pytest.raises(NotFound) as caught:
        find(two_hundred.store, NAME, at, clock=two_hundred.clock)
    assert caught.value.kind == "no-version"


def test_an_attempt_that_lost_is_no_version() -> None:
    """A manifest that is stored and that no pointer leads to is not found by its id."""
    made = ManifestLine()
    made.grow(2)
    lost = str(VersionId(START, 2, "f" * 32))
    made.store.create(keys.manifest(NAME, lost), b"whatever")
    with pytest.raises(NotFound):
        find(made.store, NAME, lost, clock=made.clock)


def test_a_tag_names_a_version_until_it_goes() -> None:
    """A tag is found by its name; a version that was removed is said to be removed."""
    made = ManifestLine()
    made.grow(3)
    write_tag(made.store, "release", made.versions[1])
    assert found_number(made, "release") == 2
    second, first = made.versions[1].version_id, made.versions[0].version_id
    for version_id in (first, second):
        made.inner.delete(keys.manifest(NAME, version_id))
    with pytest.raises(Damaged) as lost:
        find(made.store, NAME, "release", clock=made.clock)
    assert lost.value.kind == "missing-object"
    write_removal(made.store, NAME, "gc-1", [first, second])
    for at in ("1", first, "release", "2026-11-23T12:30"):
        with pytest.raises(NotFound) as caught:
            find(made.store, NAME, at, clock=made.clock)
        assert caught.value.kind == "removed-version"
    removed = {entry.version.number for entry in log_entries(made.store, NAME) if entry.removed}
    assert removed == {1, 2}


def test_a_collection_without_versions_has_none() -> None:
    """Nothing is found where nothing was published, by whatever name."""
    for at in ("", "1", "release"):
        with pytest.raises(NotFound) as caught:
            find(ObstoreObjectStore("memory://"), NAME, at, clock=ManualClock())
        assert caught.value.kind == "no-version"


# --- garbage -----------------------------------------------------------------------------------


def collected(store: ObjectStore, made: ManifestLine, **rules: int) -> tuple[int, ...]:
    """Collect garbage; give the numbers of the versions that went."""
    return collect(store, NAME, Policy(**rules), clock=made.clock, ids=SystemIds()).versions


def test_a_lost_version_costs_no_other_object() -> None:
    """Where a version that is to stay is missing, nothing goes; its layers may still be its."""
    made = ManifestLine()
    made.grow(4)
    missing = keys.manifest(NAME, made.versions[1].version_id)
    body = made.inner.get(missing).body
    layer = keys.layer_part(NAME, made.versions[1].manifest.layers[0].layer_id, 0)
    made.inner.create(layer, b"pages")
    made.inner.delete(missing)
    before = sorted(info.key for info in made.inner.list(""))
    for rules in ({}, {"keep_last": 3}):
        with pytest.raises(Damaged) as caught:
            collected(made.store, made, **rules)
        assert caught.value.kind == "missing-object"
    assert sorted(info.key for info in made.inner.list("")) == before
    made.inner.create(missing, body)
    assert collected(made.store, made, keep_last=3) == (1,)
    assert made.inner.head(layer) is not None
    assert collected(made.store, made, keep_last=2) == (2,)
    assert made.inner.head(layer) is None
    assert collected(made.store, made) == ()
