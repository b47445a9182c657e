"""follow beside a second follower and after a death, and names that outlast a power cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.errors import Conflict
from chromaseal.replication import follow
from chromaseal.testing.directory_states import contents, made_states
from chromaseal.testing.faults import Fault, FaultyStore
from chromaseal.testing.machine import Machine, RememberingSandbox

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


@pytest.fixture(scope="module")
def states() -> list[Path]:
    """Give directories that follow each other."""
    return made_states()


@pytest.fixture(scope="module")
def remembering(sandbox: ProcessSandbox) -> RememberingSandbox:
    """Give a sandbox that is asked once per content."""
    return RememberingSandbox(sandbox)


@pytest.fixture
def machine(tmp_path: Path, remembering: RememberingSandbox) -> Machine:
    """Give a machine with an empty vault."""
    return Machine(
        ObstoreObjectStore("memory://"), tmp_path / "cache", tmp_path / "app", remembering
    )


class Synced:
    """What was made durable, and what had its name by then; asks the kernel all the same."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, there: Callable[[], object]) -> None:
        self.seen: list[tuple[Path, object]] = []
        self._there = there
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._sync)

    def _sync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self.seen.append((path, self._there()))


def test_a_name_is_as_durable_as_what_has_it(
    machine: Machine, states: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a new content has taken its name, the folder with the name is made durable."""
    target = tmp_path / "place" / "target"

    def there() -> bytes | None:
        database = target / DATABASE
        return database.read_bytes() if database.exists() else None

    synced = Synced(monkeypatch, there)
    for state in states[:2]:
        machine.push(NAME, state)
        machine.vault.pull(NAME, target)
        assert (target.parent, (state / DATABASE).read_bytes()) in synced.seen
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
    assert [each.version.version_id for each in found if each] == [moved.version.version_id]
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
    with pytest.raises(Conflict, match=f"keeps {NAME} of vault vault, not others of") as raised:
        list(machine.vault.follow("others", folder, stop=lambda: False))
    assert raised.value.kind == "not-a-copy"
    assert follow.current(folder) == before
    assert contents(folder / str(before)) == contents(states[0])
