"""A bad version is never served: open and follow fall back to the newest good one, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.errors import Damaged, NotFound
from chromaseal.replication import follow
from chromaseal.snapshot.fallback import newest_first
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.machine import Machine

NAME = "notes"


@pytest.fixture
def three(machine: Machine, states: list[Path]) -> Machine:
    """Give a vault of three versions, looked at from a machine that keeps none of them."""
    for state in states[:3]:
        machine.push(NAME, state)
    return machine.stranger(machine.directory.parent / "other")


def break_step(machine: Machine, number: int) -> str:
    """Remove the diff that leads to a version; give that version's id."""
    version = machine.vault.version(NAME, number)
    layer = version.manifest.layers[-1]
    machine.store.delete(keys.layer_part(NAME, layer.layer_id, 0))
    return version.version_id


def test_the_newest_good_version_is_opened(three: Machine, tmp_path: Path) -> None:
    """Where nobody asked for a version, the one before is served, and the bad one is named."""
    bad = break_step(three, 3)
    passed: list[str] = []
    opened = three.vault.open_copy(NAME, tmp_path / "copy", told=lambda *b: passed.append(b[0]))
    assert (opened.manifest.number, passed) == (2, [bad])
    with pytest.raises(Damaged):
        three.vault.open_copy(NAME, tmp_path / "named", at="3")
    assert not (tmp_path / "named").exists()


def test_a_lost_manifest_is_passed_over(three: Machine, tmp_path: Path) -> None:
    """Also where nothing is left of the newest version but its id in the pointer."""
    newest = three.vault.version(NAME)
    three.store.delete(keys.manifest(NAME, newest.version_id))
    passed: list[str] = []
    opened = three.vault.open_copy(NAME, tmp_path / "copy", told=lambda *b: passed.append(b[0]))
    assert (opened.manifest.number, passed) == (2, [newest.version_id])


def test_one_of_several_attempts_is_not_guessed(three: Machine, tmp_path: Path) -> None:
    """With two manifests of the number before, nobody knows which one was a version."""
    newest, before = three.vault.version(NAME), three.vault.version(NAME, 2)
    three.store.delete(keys.manifest(NAME, newest.version_id))
    other = before.version_id[:-32] + "0" * 32
    three.store.create(keys.manifest(NAME, other), b"{}")
    with pytest.raises(Damaged):
        three.vault.open_copy(NAME, tmp_path / "copy")


def test_nothing_is_served_where_nothing_is_good(three: Machine, tmp_path: Path) -> None:
    """The error is about the newest version; there is no directory."""
    for info in list(three.store.list(keys.layers(NAME))):
        three.store.delete(info.key)
    with pytest.raises(Damaged) as caught:
        three.vault.open_copy(NAME, tmp_path / "copy")
    assert caught.value.kind == "missing-object"
    assert not (tmp_path / "copy").exists()
    with pytest.raises(NotFound):
        three.vault.open_copy("others", tmp_path / "copy")


def test_a_follower_stays_where_it_is(three: Machine, states: list[Path]) -> None:
    """It tells of the bad version once, and tries it again after a while."""
    told: list[str] = []
    folder = three.directory.parent / "followed"
    first = follow.advance(three.vault.parts, NAME, folder)
    assert first is not None
    assert first.version.manifest.number == 3
    three.push(NAME, states[3], replace=True)
    bad = break_step(three, 4)
    stranger = three.stranger(three.directory.parent / "third")
    clock = ManualClock()
    passed = follow.Passed(clock, lambda *b: told.append(b[0]))
    for _ in range(3):
        assert follow.advance(stranger.vault.parts, NAME, folder, passed=passed) is None
    assert told == [bad]
    assert passed.rests(bad)
    clock.sleep(100)
    assert not passed.rests(bad)
    assert follow.current(folder) == first.version.version_id


def test_a_follower_without_a_copy_gets_the_newest_good_one(three: Machine) -> None:
    """An empty folder is filled with what can be served."""
    break_step(three, 3)
    moved = follow.advance(three.vault.parts, NAME, three.directory.parent / "followed")
    assert moved is not None
    assert moved.version.manifest.number == 2


def test_removed_versions_are_passed_over_in_silence(three: Machine) -> None:
    """What garbage collection took is not damaged."""
    told: list[str] = []
    three.vault.tag(NAME, "first", at="1")
    three.vault.gc(NAME, Policy(keep_last=1))
    numbers = [
        version.manifest.number
        for version in newest_first(three.store, NAME, told=lambda *b: told.append(b[0]))
    ]
    assert (numbers, told) == ([3, 1], [])
