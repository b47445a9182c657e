"""pull beside others: applications that write, rivals on the machine; and where one stands."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal.errors import Conflict
from chromaseal.seal.open_files import Holder
from chromaseal.snapshot import kept as kept_versions
from chromaseal.testing.directory_states import contents, replace_contents
from chromaseal.testing.faults import Fault, FaultyStore
from chromaseal.testing.machine import Machine

NAME = "notes"
DATABASE = "chroma.sqlite3"
INDEX_FILE = "*/length.bin"
TWO_COLLECTIONS = """
import shutil, sys
from pathlib import Path
from chromaseal.adapters.chroma.client import opened
from chromaseal.adapters.chroma.collection import upsert_records
from chromaseal.testing.records import record

folder = Path(sys.argv[1])
live = folder / "live"
with opened(live) as client:
    notes = client.create_collection("good", embedding_function=None)
    drafts = client.create_collection("drafts", embedding_function=None)
    upsert_records(notes, [record("one", 1), record("two", 2)], {})
    upsert_records(drafts, [record("three", 3)], {})
    shutil.copytree(live, folder / "before")
    notes.delete(ids=["two"])
    upsert_records(drafts, [record("two", 2)], {})
    shutil.copytree(live, folder / "moved")
    upsert_records(notes, [record("two", 2)], {})
    drafts.delete(ids=["two"])
    client.create_collection("third", embedding_function=None)
    shutil.copytree(live, folder / "one more")
"""


class LateWriter:
    """Nobody has a directory open; when that was found out, somebody writes and goes."""

    def __init__(self, act: Callable[[], object], *, look: int) -> None:
        self._act = act
        self._left = look

    def holders(self, directory: Path) -> list[Holder]:
        """Give nobody."""
        del directory
        self._left -= 1
        if not self._left:
            self._act()
        return []


def write_into(path: Path) -> None:
    """Change a byte in place, as an application does."""
    with path.open("r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))


def outcome(act: Callable[[], object]) -> str:
    """Do something; give the kind of the refusal, or nothing."""
    try:
        act()
    except Conflict as error:
        return error.kind
    return ""


def test_what_is_written_during_a_pull_is_not_lost(
    machine: Machine, states: list[Path], tmp_path: Path
) -> None:
    """At whatever store operation an application comes, writes and goes: its records stay."""
    machine.push(NAME, states[0])
    machine.push(NAME, states[1])
    target = tmp_path / "place" / "target"

    def write(_: str, __: str) -> bool:
        replace_contents(target, states[5])
        return True

    kind, at = "changed-locally", -1
    while kind == "changed-locally":
        at += 1
        reader = machine.stranger(tmp_path / f"cache-{at}")
        reader.vault.pull(NAME, target, at="1", overwrite=True)
        store = FaultyStore(machine.store, wait=write)
        store.plan(Fault.STALL, after=at)
        kind = outcome(functools.partial(reader.with_store(store).vault.pull, NAME, target))
        assert bool(store.fired) == bool(kind)
        assert contents(target) == contents(states[5] if kind else states[1])
        assert list(target.parent.iterdir()) == [target]
    assert kind == ""
    assert at >= 5


def test_what_is_written_after_comparing_is_not_lost(
    machine: Machine, states: list[Path], tmp_path: Path
) -> None:
    """An application that writes when its directory was just compared keeps what it wrote."""
    target = tmp_path / "place" / "target"
    machine.push(NAME, states[0])
    machine.vault.pull(NAME, target)
    machine.push(NAME, states[1])
    # As opening it does: other times, and the same records.
    os.utime(target / DATABASE)
    late = machine.interrupted("verify", lambda: replace_contents(target, states[5]))
    assert outcome(lambda: late.vault.pull(NAME, target)) == "changed-while-reading"
    assert contents(target) == contents(states[5])
    machine.vault.pull(NAME, target, overwrite=True)
    assert contents(target) == contents(states[1])


def test_what_is_written_into_a_shared_file_reaches_no_version(
    machine: Machine, states: list[Path], tmp_path: Path
) -> None:
    """Even where anything may be overwritten, what comes is the version and nothing else."""
    target = tmp_path / "place" / "target"
    machine.push(NAME, states[0])
    machine.vault.pull(NAME, target)
    machine.push(NAME, states[1])
    (shared,) = target.glob(INDEX_FILE)
    late = machine.with_store(machine.store)
    # The first look is before anything is fetched, the second before the directories are swapped.
    writer = LateWriter(lambda: write_into(shared), look=2)
    late.vault.parts = replace(late.vault.parts, open_files=writer)
    kind = outcome(lambda: late.vault.pull(NAME, target, overwrite=True))
    assert kind == "changed-while-reading"
    assert (target / DATABASE).read_bytes() == (states[0] / DATABASE).read_bytes()
    machine.vault.pull(NAME, target, overwrite=True)
    assert contents(target) == contents(states[1])


@pytest.fixture(scope="module")
def two_collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give directories with two collections: as it was, a record moved, a collection more."""
    folder = tmp_path_factory.mktemp("two")
    subprocess.run([sys.executable, "-c", TWO_COLLECTIONS, str(folder)], check=True)
    return folder


@pytest.mark.parametrize("change", ["moved", "one more"])
def test_a_change_that_leaves_the_records_is_a_change(
    machine: Machine, two_collections: Path, states: list[Path], tmp_path: Path, change: str
) -> None:
    """A record in another collection, or another collection, is not lost without a word."""
    target = tmp_path / "place" / "target"
    machine.push(NAME, two_collections / "before")
    machine.vault.pull(NAME, target)
    replace_contents(target, two_collections / change)
    machine.push(NAME, states[0])
    assert outcome(lambda: machine.vault.pull(NAME, target)) == "changed-locally"
    assert contents(target) == contents(two_collections / change)


@pytest.mark.parametrize("back", [False, True])
def test_what_is_kept_may_go_while_a_pull_compares(
    machine: Machine,
    states: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    back: bool,
) -> None:
    """A process that keeps newer versions, or fetches this one anew, changes nothing for it."""
    # Small files, too, are kept as older ones with their newer pages apart.
    monkeypatch.setattr(kept_versions, "APART_SHARE", 0)
    target = tmp_path / "place" / "target"
    machine.push(NAME, states[0])
    machine.vault.pull(NAME, target)
    machine.push(NAME, states[1])
    os.utime(target / DATABASE)
    version = machine.vault.version(NAME)
    kept = machine.vault.parts.checkouts.kept(version)
    assert kept is not None
    assert len(kept.stale[DATABASE])

    def rival() -> None:
        machine.push(NAME, states[2])
        machine.push(NAME, states[3])
        assert not kept.folder.exists()
        if back:
            machine.vault.pull(NAME, tmp_path / "elsewhere", at="2")
            assert kept.folder.exists()

    late = machine.interrupted("verify", rival)
    assert late.vault.pull(NAME, target, at="2").version.version_id == version.version_id
    assert contents(target) == contents(states[1])


@pytest.mark.parametrize("begins", ["empty", "pulled"])
def test_the_current_directory_is_pulled_to(
    machine: Machine,
    states: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begins: str,
) -> None:
    """``pull notes .`` brings a version to where the caller stands, and it stands there still."""
    target = tmp_path / "place" / "target"
    target.mkdir(parents=True)
    monkeypatch.chdir(target)
    machine.push(NAME, states[0])
    if begins == "pulled":
        machine.vault.pull(NAME, target)
        machine.push(NAME, states[1])
    machine.vault.pull(NAME, Path())
    newest = states[1] if begins == "pulled" else states[0]
    assert contents(target) == contents(Path()) == contents(newest)
    assert Path.cwd() == target
    assert not machine.vault.pull(NAME, Path()).new
    assert not machine.vault.pull(NAME, Path("extra") / "..").new
    assert list(target.parent.iterdir()) == [target]


def test_a_copy_is_opened_in_the_current_directory(
    machine: Machine, states: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``open notes .`` does the same for a copy."""
    target = tmp_path / "place" / "target"
    target.mkdir(parents=True)
    monkeypatch.chdir(target)
    machine.push(NAME, states[0])
    machine.vault.open_copy(NAME, Path())
    assert contents(Path()) == contents(states[0])
    assert Path.cwd() == target
