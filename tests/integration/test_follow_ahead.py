"""A follower makes the next copy ahead: what becomes of it, whoever comes between."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal.adapters.linux.file_system import LinuxFileSystem
from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.replication import follow, spare
from chromaseal.testing.directory_states import contents
from chromaseal.testing.machine import Machine, RememberingSandbox
from chromaseal.testing.synced import Synced

NAME = "notes"
DATABASE = "chroma.sqlite3"
MOUNTS = Path("/proc/self/mountinfo")
# In SQLite's header, for whoever makes files of that format; ChromaDB does not look at it.
APPLICATION_ID_AT = 68
DYING_FOLLOWER = """
import os, signal, sys
from pathlib import Path
from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.replication import follow, spare
from chromaseal.testing.machine import Machine, RememberingSandbox

vault, cache, folder = map(Path, sys.argv[1:4])
machine = Machine(LocalObjectStore(vault), cache, folder, RememberingSandbox(None))
synced = 0


def die(descriptor):
    global synced
    synced += 1
    if synced == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)


following = machine.vault.follow("notes", folder)
next(following)
print("moved", flush=True)
sys.stdin.readline()
os.fsync = die
next(following)
"""


class Watched:
    """A follower of a folder, looked at whenever it is about to look for a version itself."""

    def __init__(self, machine: Machine, folder: Path, look: Callable[[], object] = int) -> None:
        self.folder = folder
        self.spares: list[int] = []
        self.look = look
        self.moves = machine.vault.follow(NAME, folder, interval_s=0, stop=self._stop)

    def _stop(self) -> bool:
        self.spares += [(path / DATABASE).stat().st_ino for path in unfinished(self.folder)]
        self.look()
        return False

    def next(self) -> Path:
        """Wait for the next move; give the copy."""
        return next(self.moves).directory


def unfinished(folder: Path) -> list[Path]:
    """Give the copies that are not there yet for readers."""
    return sorted(folder.glob(".*.unfinished"))


def inode(directory: Path) -> int:
    """Tell which file a directory's database is."""
    return (directory / DATABASE).stat().st_ino


@pytest.fixture
def spied(machine: Machine) -> Machine:
    """Give a machine that sees which of its files are open."""
    machine.vault.parts = replace(machine.vault.parts, open_files=ProcOpenFiles())
    return machine


def test_the_copy_made_ahead_becomes_the_next_one(
    spied: Machine, states: list[Path], tmp_path: Path
) -> None:
    """From the second move on, and it is the version; it goes when nobody follows any more."""
    spied.push(NAME, states[0])
    watched = Watched(spied, tmp_path / "followed")
    assert inode(watched.next()) not in watched.spares
    for state in states[1:4]:
        spied.push(NAME, state)
        copy = watched.next()
        assert contents(copy) == contents(state)
        same_files = contents(copy).keys() == contents(states[states.index(state) - 1]).keys()
        assert (inode(copy) in watched.spares) is same_files
    assert watched.spares
    assert isinstance(watched.moves, Generator)
    watched.moves.close()
    assert unfinished(watched.folder) == []


@pytest.mark.parametrize("how", ["removed", "written"])
def test_a_copy_made_ahead_that_is_lost_is_made_again(
    spied: Machine, states: list[Path], tmp_path: Path, how: str
) -> None:
    """Others may remove it or write there: what readers get is the version all the same."""

    def spoil() -> None:
        for path in unfinished(watched.folder):
            if how == "removed":
                (path / DATABASE).unlink()
            else:
                (path / DATABASE).write_bytes(b"")

    watched = Watched(spied, tmp_path / "followed", spoil)
    for state in states[:3]:
        spied.push(NAME, state)
        assert contents(watched.next()) == contents(state)


def test_what_was_made_ahead_is_durable_before_it_has_its_name(
    spied: Machine, states: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the copy ahead, then what has changed since, then the folder with its name."""
    spied.push(NAME, states[0])
    watched = Watched(spied, tmp_path / "followed")
    first = watched.next()
    synced = Synced(monkeypatch, lambda: follow.current(watched.folder))
    spied.push(NAME, states[1])
    second = watched.next()
    files = {path: body for path, body in contents(second).items() if contents(first)[path] != body}
    places = [(str(path).rpartition(".unfinished/")[2], at) for path, at in synced.seen]
    assert files
    for name in files:
        # Once with the rest, and once more.
        assert places.count((name, first.name)) == 2
    assert (watched.folder, first.name) in synced.seen
    assert (watched.folder, second.name) in synced.seen


def test_a_second_follower_leaves_it_alone(
    spied: Machine, states: list[Path], tmp_path: Path
) -> None:
    """It belongs to somebody: a process has a file of it open."""
    spied.push(NAME, states[0])
    watched = Watched(spied, tmp_path / "followed")
    watched.next()
    other = spied.stranger(tmp_path / "other")
    other.vault.parts = replace(other.vault.parts, open_files=ProcOpenFiles())

    def overtake() -> None:
        if len(watched.spares) == 1:
            spied.push(NAME, states[1])
            assert follow.advance(other.vault.parts, NAME, watched.folder) is not None
            assert len(unfinished(watched.folder)) == 1
            spied.push(NAME, states[2])

    watched.look = overtake
    assert contents(watched.next()) == contents(states[2])


class OldCopies:
    """A follower that has made more copies than it keeps, as nobody's open files are seen.

    Args:
        machine: where versions come from.
        state: of every version but for one file, so that all have the same files.
        folder: what the follower keeps.

    Attributes:
        watched: the follower.
        taken: names of copies that became newer ones; a number of an inode may be another file's.
    """

    def __init__(self, machine: Machine, state: Path, folder: Path) -> None:
        self.taken: set[str] = set()
        self._machine = machine
        self._state = shutil.copytree(state, folder.with_name("state"))
        self._versions = 0
        self.watched = Watched(machine, folder)

    def next(self) -> Path:
        """Publish a version and follow it; give the copy."""
        self._versions += 1
        with (self._state / DATABASE).open("r+b") as database:
            database.seek(APPLICATION_ID_AT)
            database.write(self._versions.to_bytes(4))
        self._machine.push(NAME, self._state)
        copy = self.watched.next()
        assert contents(copy) == contents(self._state)
        return copy

    def names(self) -> set[str]:
        """Give the copies that readers can find."""
        found = {path.name for path in self.watched.folder.iterdir()}
        return {name for name in found if not name.startswith(".") and name != follow.CURRENT}


@pytest.fixture
def old_copies(
    machine: Machine, states: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> OldCopies:
    """Give one before its first version."""
    made = OldCopies(machine, states[0], tmp_path / "followed")
    use_again = spare.Copies.use_again

    def told(copies: spare.Copies, copy: Path) -> bool:
        is_taken = use_again(copies, copy)
        made.taken |= {copy.name} if is_taken else set()
        return is_taken

    monkeypatch.setattr(spare.Copies, "use_again", told)
    return made


def test_an_old_copy_becomes_a_newer_one(old_copies: OldCopies) -> None:
    """Three directories take turns, so nothing is copied any more; now and then it is all anew."""
    names = [old_copies.next().name for _ in range(24)]
    # The newest two stay, and the next one goes once somebody asks for another version.
    anew = [n for n, name in enumerate(names[:-3]) if name not in old_copies.taken]
    assert len(anew) == 1
    assert anew[0] > 12


@pytest.mark.parametrize("how", ["written", "touched", "another file"])
def test_an_old_copy_that_somebody_touched_is_not_used_again(
    old_copies: OldCopies, how: str
) -> None:
    """It goes, as it always did."""
    old_copies.next()
    copy = old_copies.next()
    if how == "another file":
        (copy / "mine").write_bytes(b"x")
    elif how == "touched":
        (copy / DATABASE).touch()
    else:
        (copy / DATABASE).write_bytes(b"")
    for _ in range(3):
        old_copies.next()
    assert copy.name not in old_copies.taken | old_copies.names()
    assert old_copies.taken


def test_an_old_copy_that_somebody_has_open_stays(old_copies: OldCopies) -> None:
    """Also where no /proc tells who; and it is nobody's next version."""
    old_copies.next()
    copy = old_copies.next()
    was = contents(copy)
    with (copy / DATABASE).open("rb") as reader:
        made = [inode(old_copies.next()) for _ in range(4)]
        assert inode(copy) not in made
        assert reader.read() == was[DATABASE]
        assert contents(copy) == was
    old_copies.next()
    assert copy.name not in old_copies.names()


def test_asking_whether_a_file_is_open_disturbs_nobody(tmp_path: Path) -> None:
    """Whoever opens it at that moment waits, and the process that asks lives on."""
    (tmp_path / "file").write_bytes(b"x")
    machine = LinuxFileSystem()
    assert machine.open_anywhere(tmp_path) is False
    opening = "import sys\nprint(flush=True)\nwhile True: open(sys.argv[1]).close()"
    command = [sys.executable, "-c", opening, str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        found = {machine.open_anywhere(tmp_path) for _ in range(5000)}
        other.kill()
    assert found == {False, True}


@pytest.mark.parametrize("kind", ["fuse.seaweedfs", "nfs4", "cifs", ""])
def test_what_other_machines_may_read_is_not_asked_of_this_one(
    machine: Machine,
    old_copies: OldCopies,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """A lease says nothing of them: no copy under a reader's hands becomes another version."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(re.sub(r" - \S+ ", f" - {kind} ", MOUNTS.read_text()) if kind else "")
    elsewhere = machine.vault.parts.file_system
    monkeypatch.setattr(elsewhere, "_mounts", mounts)
    oldest = old_copies.next()
    for _ in range(4):
        old_copies.next()
    assert elsewhere.open_anywhere(old_copies.watched.folder) is None
    assert oldest.name not in old_copies.names()
    assert not old_copies.taken


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 4])
def test_a_follower_that_died_ahead_leaves_what_was_there(
    states: list[Path], tmp_path: Path, remembering: RememberingSandbox, at: int
) -> None:
    """Killed while it copies ahead, or brings that up to date: the next one goes on."""
    machine = Machine(
        LocalObjectStore(tmp_path / "vault"), tmp_path / "cache", tmp_path / "app", remembering
    )
    machine.push(NAME, states[0])
    folder = tmp_path / "followed"
    arguments = [str(tmp_path / "vault"), str(tmp_path / "other cache"), str(folder), str(at)]
    with subprocess.Popen(
        [sys.executable, "-c", DYING_FOLLOWER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as died:
        assert died.stdout is not None
        assert died.stdout.readline() == b"moved\n"
        machine.push(NAME, states[1])
        died.communicate(b"go on\n")
    assert died.returncode == -signal.SIGKILL
    assert len(unfinished(folder)) == 1
    assert contents(folder / follow.CURRENT) == contents(states[0])
    assert follow.advance(machine.vault.parts, NAME, folder) is not None
    assert contents(folder / follow.CURRENT) == contents(states[1])
    assert unfinished(folder) == []
