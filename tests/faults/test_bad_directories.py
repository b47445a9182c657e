"""Directories that cannot be published and places that cannot be pulled to: refused, unharmed."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.digests import file_page_digests
from chromaseal.errors import ChromasealError
from chromaseal.replication import follow
from chromaseal.seal import sealed as sealing
from chromaseal.snapshot import chain
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.directory_states import EXTRA, contents, replace_contents
from chromaseal.testing.faults import Fault, FaultyStore
from chromaseal.testing.machine import Machine

NAME = "notes"
DATABASE = "chroma.sqlite3"


@pytest.fixture
def machine(machine: Machine) -> Machine:
    """Give a machine with an empty vault, which sees who has files open."""
    return seeing(machine)


def seeing(machine: Machine) -> Machine:
    """Let a machine see who has files open, and wait without waiting."""
    parts = machine.vault.parts
    machine.vault.parts = replace(parts, open_files=ProcOpenFiles(), clock=ManualClock())
    return machine


def everything(directory: Path) -> dict[str, object]:
    """Give all that can be told of a directory and what is beside it."""
    found: dict[str, object] = {}
    for path in sorted(directory.parent.rglob("*")):
        status = path.lstat()
        plain = path.is_file() and not path.is_symlink()
        body: object = path.read_bytes() if plain else ""
        if path.is_symlink():
            body = str(path.readlink())
        found[str(path)] = (status.st_mode, status.st_ino, body)
    return found


def kind_of(act: Callable[[], object]) -> str:
    """Do something that must be refused; give the kind of the refusal."""
    with pytest.raises(ChromasealError) as caught:
        act()
    assert caught.value.message
    return caught.value.kind


def make_socket(path: Path) -> None:
    """Put a socket somewhere; its address has room for 107 bytes only."""
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


def directory_instead(path: Path) -> None:
    """Put a directory in a file's place."""
    path.unlink()
    path.mkdir()


def pipe_instead(path: Path) -> None:
    """Put a pipe in a file's place."""
    path.unlink()
    os.mkfifo(path)


def database_elsewhere(directory: Path) -> None:
    """Move the database away and leave a link to it."""
    database = directory / DATABASE
    target = database.rename(outside(directory) / DATABASE)
    database.symlink_to(target)


def outside(directory: Path) -> Path:
    """Give a folder outside of a directory, with a file in it."""
    folder = directory.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    (folder / "secret").write_text("not to be read")
    return folder


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda d: replace_contents(d, outside(d)), "not-chromadb"),
    "a database that is a directory": (
        lambda d: directory_instead(d / DATABASE),
        "not-chromadb",
    ),
    "a database that is a pipe": (
        lambda d: pipe_instead(d / DATABASE),
        "not-chromadb",
    ),
    "a text as a database": (
        lambda d: (d / DATABASE).write_text("text " * 1000),
        "malformed-database",
    ),
    "an empty database": (lambda d: (d / DATABASE).write_bytes(b""), "no-database"),
    "a torn database": (lambda d: os.truncate(d / DATABASE, 50_000), "malformed-database"),
    "a journal": (lambda d: (d / f"{DATABASE}-journal").write_bytes(b"x" * 512), "hot-journal"),
    "a log": (lambda d: (d / f"{DATABASE}-wal").write_bytes(b""), "hot-journal"),
    "a pipe": (lambda d: os.mkfifo(d / "pipe"), "not-a-plain-file"),
    "a socket": (lambda d: make_socket(d / "socket"), "not-a-plain-file"),
    "a device": (lambda d: os.mknod(d / "null", 0o20666, os.makedev(1, 3)), "not-a-plain-file"),
    "a link to a file": (
        lambda d: (d / "link").symlink_to(outside(d) / "secret"),
        "not-a-plain-file",
    ),
    "a link to a directory": (lambda d: (d / "link").symlink_to(outside(d)), "not-a-plain-file"),
    "a link to nothing": (lambda d: (d / "link").symlink_to("nowhere"), "not-a-plain-file"),
    "a link that goes round": (lambda d: (d / "link").symlink_to("."), "not-a-plain-file"),
    "a database that is a link": (database_elsewhere, "not-a-plain-file"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("published", [False, True])
def test_what_is_no_sound_directory_is_not_published(
    machine: Machine, states: list[Path], name: str, *, published: bool
) -> None:
    """Each is refused with a kind of its own; neither the vault nor the directory changes."""
    spoil, kind = BAD[name]
    if name == "a device" and os.geteuid():
        pytest.skip("only root makes devices")
    if published:
        machine.push(NAME, states[0])
    replace_contents(machine.directory, states[1])
    spoil(machine.directory)
    versions = machine.vault.has_version(NAME) and machine.vault.version(NAME).version_id
    before = everything(machine.directory / "x")
    assert kind_of(lambda: machine.vault.push(machine.directory, NAME)) == kind
    assert everything(machine.directory / "x") == before
    after = machine.vault.has_version(NAME) and machine.vault.version(NAME).version_id
    assert after == versions


def test_no_directory_at_all_is_not_published(machine: Machine, tmp_path: Path) -> None:
    """A name that leads nowhere, a file, a file's inside."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "nowhere", tmp_path / "file", tmp_path / "file" / "in"):
        assert kind_of(functools.partial(machine.vault.push, path, NAME)) == "not-chromadb"


@contextlib.contextmanager
def opened_elsewhere(path: Path) -> Iterator[None]:
    """Let another process have a file open."""
    code = "import sys; f = open(sys.argv[1], 'rb'); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()


def test_an_open_directory_is_neither_published_nor_replaced(
    machine: Machine, states: list[Path], tmp_path: Path
) -> None:
    """While another process has a file open, push and pull name it and do nothing."""
    machine.push(NAME, states[0])
    target = tmp_path / "place" / "target"
    machine.vault.pull(NAME, target)
    machine.push(NAME, states[1])
    before = everything(target)
    with opened_elsewhere(target / DATABASE):
        assert kind_of(lambda: machine.vault.pull(NAME, target)) == "still-open"
        assert kind_of(lambda: machine.vault.pull(NAME, target, overwrite=True)) == "still-open"
        assert kind_of(lambda: machine.vault.push(target, NAME, replace=True)) == "still-open"
        assert everything(target) == before
    machine.vault.pull(NAME, target)
    assert contents(target) == contents(states[1])


def write_into(path: Path) -> None:
    """Change a byte in place."""
    with path.open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))


def link_instead(path: Path) -> None:
    """Put a link to a file with another content in a file's place."""
    path.unlink()
    path.symlink_to(outside(path.parents[1]) / "secret")


def grow(path: Path) -> None:
    """Make a file longer."""
    os.truncate(path, path.stat().st_size + 5)


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": write_into,
    "cut": lambda path: os.truncate(path, 6000),
    "emptied": lambda path: os.truncate(path, 0),
    "grown": grow,
    "removed": Path.unlink,
    "a link": link_instead,
    "a directory": directory_instead,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("outweighed", [1.0, 100.0])
def test_a_change_between_sealing_and_packing_is_found(
    machine: Machine,
    states: list[Path],
    change: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    published: bool,
    outweighed: float,
) -> None:
    """Nothing is published that was not verified, whatever becomes of the files meanwhile."""
    monkeypatch.setattr(chain, "OUTWEIGHED", outweighed)
    if published:
        machine.push(NAME, states[0])
    # The plain file's last page is a short one, so that growing changes it.
    replace_contents(machine.directory, states[3])

    def meddle(_: str, __: str) -> bool:
        CHANGES[change](machine.directory / EXTRA)
        return True

    # The last thing before packing is to look at the collection's pin.
    faulty = FaultyStore(machine.store, wait=meddle)
    faulty.plan(Fault.STALL, after=3 if published else 2)
    late = seeing(machine.with_store(faulty))
    kind = kind_of(lambda: late.vault.push(late.directory, NAME))
    assert kind == "changed-while-reading"
    assert len(faulty.fired) == 1
    if published:
        assert machine.stranger(machine.cache.with_name("other")).fetched(NAME) == contents(
            states[0]
        )
    else:
        assert not machine.vault.has_version(NAME)


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "a link"])
def test_a_change_while_it_is_read_is_found(
    machine: Machine, states: list[Path], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes under the reader's hands is refused before anything is verified."""
    read = file_page_digests

    def meddle(path: Path) -> bytes:
        digests = read(path)
        if path.name == Path(EXTRA).name:
            CHANGES[change](path)
        return digests

    monkeypatch.setattr(sealing, "file_page_digests", meddle)
    kind = kind_of(lambda: machine.push(NAME, states[0]))
    assert kind == "changed-while-reading"
    assert not machine.vault.has_version(NAME)


PLACES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "a file": (lambda t, _: t.write_text("mine"), "not-a-copy"),
    "a pipe": (lambda t, _: os.mkfifo(t), "not-a-copy"),
    "a link to a directory": (lambda t, other: t.symlink_to(other), "not-a-copy"),
    "a link to a file": (lambda t, other: t.symlink_to(other / "secret"), "not-a-copy"),
    "a link to nothing": (lambda t, _: t.symlink_to("nowhere"), "not-a-copy"),
    "somebody's directory": (lambda t, other: other.rename(t), "not-a-copy"),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_was_not_pulled_is_not_replaced(
    machine: Machine, states: list[Path], tmp_path: Path, place: str
) -> None:
    """Whatever stands where a version is to go stays, unless it is said to go."""
    machine.push(NAME, states[0])
    target = tmp_path / "place" / "target"
    target.parent.mkdir()
    make, kind = PLACES[place]
    make(target, outside(target))
    before = everything(target)
    assert kind_of(lambda: machine.vault.pull(NAME, target)) == kind
    assert everything(target) == before


@pytest.mark.parametrize("place", PLACES)
def test_only_chromadb_directories_can_be_said_to_go(
    machine: Machine, states: list[Path], tmp_path: Path, place: str
) -> None:
    """Whoever names a file, a vault or a folder of letters to be overwritten did not mean it."""
    machine.push(NAME, states[0])
    target = tmp_path / "place" / "target"
    target.parent.mkdir()
    PLACES[place][0](target, outside(target))
    before = everything(target.parent)
    refused = kind_of(lambda: machine.vault.pull(NAME, target, overwrite=True))
    assert refused == "not-chromadb"
    assert everything(target.parent) == before


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_said_to_go_goes_and_nothing_else(
    machine: Machine, states: list[Path], tmp_path: Path, *, linked: bool
) -> None:
    """Overwriting replaces the directory, or the link to one, and leaves nothing beside it."""
    machine.push(NAME, states[0])
    target, other = tmp_path / "place" / "target", tmp_path / "place" / "elsewhere"
    shutil.copytree(states[1], other if linked else target)
    if linked:
        target.symlink_to(other)
    machine.vault.pull(NAME, target, overwrite=True)
    assert contents(target) == contents(states[0])
    assert not target.is_symlink()
    assert {path.name for path in target.parent.iterdir()} <= {"target", "elsewhere"}
    if linked:
        assert contents(other) == contents(states[1])


@pytest.mark.parametrize("spoil", [os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_strange_files_in_a_pulled_directory_are_a_change(
    machine: Machine, states: list[Path], tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    """What somebody has put there since is not lost without a word, and goes if it is said to."""
    target = tmp_path / "place" / "target"
    machine.push(NAME, states[0])
    machine.vault.pull(NAME, target)
    spoil(target / "strange")
    machine.push(NAME, states[1])
    assert kind_of(lambda: machine.vault.pull(NAME, target)) in {
        "changed-locally",
        "not-a-plain-file",
    }
    machine.vault.pull(NAME, target, overwrite=True)
    assert contents(target) == contents(states[1])


def test_a_place_below_a_file_cannot_be_written(
    machine: Machine, states: list[Path], tmp_path: Path
) -> None:
    """A path through a file is no directory."""
    machine.push(NAME, states[0])
    (tmp_path / "file").write_text("mine")
    assert kind_of(lambda: machine.vault.pull(NAME, tmp_path / "file" / "in")) == "cannot-write"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_not_called_damaged(
    machine: Machine, states: list[Path]
) -> None:
    """A folder in which nothing can be made says nothing about the version to be opened."""
    machine.push(NAME, states[0])
    assert kind_of(lambda: machine.vault.open_copy(NAME, Path("/proc/self/copy"))) == "cannot-write"


def test_a_followed_folder_of_somebody_is_left_alone(
    machine: Machine, states: list[Path], tmp_path: Path
) -> None:
    """Following refuses a folder with anything in it that is no copy of a version."""
    machine.push(NAME, states[0])
    folder = outside(tmp_path / "x")
    before = everything(folder)
    parts = machine.vault.parts
    assert kind_of(lambda: next(follow.follow(parts, NAME, folder))) == "not-a-copy"
    assert everything(folder) == before
