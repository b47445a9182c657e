"""follow beside a second follower and after a death, and names that outlast a power cut."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Conflict
from chromaseal.replication import follow
from chromaseal.testing.directory_states import contents
from chromaseal.testing.faults import Fault, FaultyStore
from chromaseal.testing.machine import Machine, RememberingSandbox
from chromaseal.testing.synced import Synced

NAME = "notes"
DATABASE = "chroma.sqlite3"
DYING_FOLLOWER = """
import os, signal, sys
from pathlib import Path
from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.replication import follow
from chromaseal.testing.machine import Machine, RememberingSandbox

vault, cache, folder = map(Path, sys.argv[1:])
# The copy is there and is to be made durable: that is the last thing before it gets its name.
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
machine = Machine(LocalObjectStore(vault), cache, folder, RememberingSandbox(None))
follow.advance(machine.vault.parts, "notes", folder)
"""


class Watch:
    """Looks before each time that this process gives or takes a name; Python tells of those."""

    EVENTS = frozenset({"os.rename", "os.remove", "os.symlink", "os.link", "os.rmdir"})

    def __init__(self) -> None:
        self.look: Callable[[], object] = int

    def __call__(self, event: str, _: object) -> None:
        """Take note of an event."""
        if event in self.EVENTS:
            self.look()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Give one that looks for as long as the test runs; Python keeps it for ever."""
    made = Watch()
    sys.addaudithook(made)
    yield made
    made.look = int


def test_a_name_is_as_durable_as_what_has_it(
    machine: Machine, states: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new content is made durable, takes its name, and then the folder with the name is."""
    target = tmp_path / "place" / "target"

    def there() -> bytes | None:
        database = target / DATABASE
        return database.read_bytes() if database.exists() else None

    synced = Synced(monkeypatch, there)
    for state in states[:2]:
        machine.push(NAME, state)
        machine.vault.pull(NAME, target)
        assert (target.parent, (state / DATABASE).read_bytes()) in synced.seen
    # Under their own names, before they have that of the target.
    places = {(path.name, path.parent.name[-11:], body) for path, body in synced.seen}
    assert (DATABASE, ".unfinished", None) in places
    assert (DATABASE, ".unfinished", (states[0] / DATABASE).read_bytes()) in places
    target = tmp_path / "opened" / "target"
    machine.vault.open_copy(NAME, target)
    assert (target.parent, (states[1] / DATABASE).read_bytes()) in synced.seen


def test_the_link_to_the_newest_is_durable(
    machine: Machine, states: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ``current`` was moved, its folder is made durable."""
    folder = tmp_path / "followed"
    synced = Synced(monkeypatch, lambda: follow.current(folder))
    for state in states[:2]:
        machine.push(NAME, state)
        moved = follow.advance(machine.vault.parts, NAME, folder)
        assert moved is not None
        assert (folder, moved.version.version_id) in synced.seen


def test_there_is_always_a_newest(
    machine: Machine, states: list[Path], tmp_path: Path, watch: Watch
) -> None:
    """From the first move on, nobody who opens ``current`` finds it missing or without files."""
    folder = tmp_path / "followed"
    seen: list[bytes] = []
    for state in states[:3]:
        machine.push(NAME, state)
        if follow.current(folder):
            watch.look = lambda: seen.append((folder / follow.CURRENT / DATABASE).read_bytes())
        assert follow.advance(machine.vault.parts, NAME, folder) is not None
    watch.look = int
    assert list(dict.fromkeys(seen)) == [(state / DATABASE).read_bytes() for state in states[:3]]


def test_old_copies_stay_while_they_are_used(
    machine: Machine, states: list[Path], tmp_path: Path
) -> None:
    """The copy before the newest stays, and each that somebody has open; others go."""
    folder = tmp_path / "followed"
    machine.vault.parts = replace(machine.vault.parts, open_files=ProcOpenFiles())
    ids: list[str] = []

    def advance(state: Path) -> Path:
        machine.push(NAME, state)
        moved = follow.advance(machine.vault.parts, NAME, folder)
        assert moved is not None
        ids.append(moved.version.version_id)
        return moved.directory

    with (advance(states[0]) / DATABASE).open("rb"):
        advance(states[1])
        advance(states[2])
        assert {path.name for path in folder.iterdir()} == {*ids, follow.CURRENT}
    advance(states[3])
    assert {path.name for path in folder.iterdir()} == {*ids[-2:], follow.CURRENT}


def test_a_vault_from_a_backup_is_followed(
    machine: Machine, states: list[Path], tmp_path: Path
) -> None:
    """Where the newest version is older than the copies that are there, its own copy stays."""
    folder = tmp_path / "followed"
    machine.push(NAME, states[0])
    backup = machine.copy(ObstoreObjectStore("memory://"), tmp_path / "other cache")
    for state in states[1:3]:
        machine.push(NAME, state)
        assert follow.advance(machine.vault.parts, NAME, folder) is not None
    moved = follow.advance(backup.vault.parts, NAME, folder)
    assert moved is not None
    assert contents(folder / follow.CURRENT) == contents(states[0])


def test_what_a_dead_follower_left_goes(
    states: list[Path], tmp_path: Path, remembering: RememberingSandbox
) -> None:
    """The next move removes unfinished copies and links, and nothing else."""
    store = LocalObjectStore(tmp_path / "vault")
    machine = Machine(store, tmp_path / "cache", tmp_path / "app", remembering)
    machine.push(NAME, states[0])
    folder = tmp_path / "followed"
    arguments = [str(tmp_path / "vault"), str(tmp_path / "other cache"), str(folder)]
    died = subprocess.run([sys.executable, "-c", DYING_FOLLOWER, *arguments], check=False)
    assert died.returncode == -signal.SIGKILL
    (unfinished,) = folder.iterdir()
    assert unfinished.name.endswith(".unfinished")
    # Where it dies two steps later.
    (folder / f".{'0' * 32}").symlink_to(machine.vault.version(NAME).version_id)
    (folder / ".mine").mkdir()
    moved = follow.advance(machine.vault.parts, NAME, folder)
    assert moved is not None
    names = {path.name for path in folder.iterdir()}
    assert names == {moved.version.version_id, follow.CURRENT, ".mine"}


def test_what_a_process_uses_stays(machine: Machine, states: list[Path], tmp_path: Path) -> None:
    """An unfinished copy that somebody has open is not removed."""
    machine.push(NAME, states[0])
    folder = tmp_path / "followed"
    unfinished = folder / f".{machine.vault.version(NAME).version_id}.{'0' * 12}.unfinished"
    unfinished.mkdir(parents=True)
    machine.vault.parts = replace(machine.vault.parts, open_files=ProcOpenFiles())
    with (unfinished / "file").open("w"):
        assert follow.advance(machine.vault.parts, NAME, folder) is not None
        assert unfinished.exists()


def test_two_followers_of_one_folder_move_one_after_the_other(
    machine: Machine, states: list[Path], tmp_path: Path
) -> None:
    """A second follower waits for the first one's move, and finds it made."""
    machine.push(NAME, states[0])
    folder = tmp_path / "followed"
    found: list[follow.Moved | None] = []
    other = machine.stranger(tmp_path / "other")
    second = threading.Thread(
        target=lambda: found.append(follow.advance(other.vault.parts, NAME, folder))
    )

    def begin_second(_: str, __: str) -> bool:
        second.start()
        while second.is_alive() and not waits_for_lock(folder):
            pass
        assert second.is_alive(), "it did not wait"
        return True

    store = FaultyStore(machine.store, wait=begin_second)
    # The pointer is read first, without a lock.
    store.plan(Fault.STALL, after=1)
    first = machine.stranger(tmp_path / "first", store)
    moved = follow.advance(first.vault.parts, NAME, folder)
    second.join()
    assert moved is not None
    assert found == [None], "the folder was there already"
    assert follow.current(folder) == moved.version.version_id
    assert contents(folder / follow.CURRENT) == contents(states[0])


def waits_for_lock(path: Path) -> bool:
    """Whether somebody waits for the lock of a path."""
    inode = f":{path.stat().st_ino} "
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and inode in line for line in lines)


def test_a_folder_keeps_one_collection(
    machine: Machine, states: list[Path], tmp_path: Path
) -> None:
    """Readers of a folder never find another collection in it, nor one of another vault."""
    folder = tmp_path / "copies"
    machine.push(NAME, states[0])
    machine.push("others", states[1], replace=True)
    once = iter((False, True)).__next__
    assert [moved.directory.parent for moved in machine.vault.follow(NAME, folder, stop=once)]
    before = follow.current(folder)
    with pytest.raises(Conflict, match=f"keeps copies of {NAME}, not of others$") as raised:
        list(machine.vault.follow("others", folder, stop=lambda: False))
    assert raised.value.kind == "not-a-copy"
    assert follow.current(folder) == before
    assert contents(folder / str(before)) == contents(states[0])
