"""SIGKILL before every change that putting a repaired directory in its place makes.

Whoever looks finds the damaged directory or the repaired one whole, nothing of the damaged one is
ever lost, and the next repair ends what was left.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal.adapters.linux.exchange import exchange
from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.clock import SystemClock
from chromaseal.errors import Conflict
from chromaseal.ids import SystemIds
from chromaseal.repair.equipment import Equipment
from chromaseal.repair.placing import MARK, finish_placing, stamps, take_place
from chromaseal.seal.quiet import DATABASE
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.directory_states import contents
from chromaseal.testing.killing import kill_at_change, kill_this_process

MOST = 100
DAMAGED = {DATABASE: b"damaged", "index/header.bin": b"old", "mine.txt": b"mine"}
REPAIRED = {DATABASE: b"repaired", "index/header.bin": b"new", "mine.txt": b"mine"}


def make(directory: Path, files: dict[str, bytes]) -> Path:
    """Make a directory."""
    for name, body in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(body)
    return directory


class Scene:
    """A damaged directory and, hidden beside it, what a repair has made.

    Args:
        folder: an empty one.
        sandbox: what a repair has besides; it is asked for nothing here.
    """

    def __init__(self, folder: Path, sandbox: ProcessSandbox) -> None:
        self.folder = folder
        self.equipment = Equipment(sandbox, ProcOpenFiles(), SystemClock(), SystemIds(), exchange)
        self.directory = make(folder / "chroma", DAMAGED)
        self._made = make(folder / ".chroma.made.unfinished", REPAIRED)
        self.damaged, self.repaired = contents(self.directory), contents(self._made)

    def place(self) -> None:
        """Put the repaired one in the damaged one's place."""
        take_place(self.directory, self._made, stamps(self.directory), self.equipment)

    def die_before_exchange(self) -> None:
        """Do the same, and die when everything is ready."""
        dying = replace(self.equipment, exchange=lambda *_: kill_this_process())
        take_place(self.directory, self._made, stamps(self.directory), dying)

    def die_after_exchange(self) -> None:
        """Do the same, and die when all but the names is done."""

        def die(first: Path, second: Path) -> None:
            exchange(first, second)
            kill_this_process()

        dying = replace(self.equipment, exchange=die)
        take_place(self.directory, self._made, stamps(self.directory), dying)

    def finish(self) -> None:
        """Do what the next repair does first."""
        finish_placing(self.directory, SystemClock())

    def check_whole(self) -> None:
        """Check that every name stands for one of the two, and that the damaged one is there."""
        assert self._unmarked(self.directory) in (self.damaged, self.repaired)
        visible = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        alike = [path for path in visible if contents(path) == self.damaged]
        assert len(alike) == 1
        assert not (alike[0] / MARK).exists()

    def check_finished(self) -> None:
        """Check that nothing is left to be done."""
        self.check_whole()
        assert not (self.directory / MARK).exists()
        names = {path.name.partition("-")[0] for path in self.folder.iterdir()} - {self._made.name}
        assert names <= {"chroma", "chroma.damaged"}

    def _unmarked(self, directory: Path) -> dict[str, bytes]:
        return {name: body for name, body in contents(directory).items() if name != MARK}


def dies(work: Callable[[], None], below: Path, at: int) -> bool:
    """Do work in a process that dies before one of its changes; whether it came to that."""
    child = os.fork()
    if not child:
        code = 1
        try:
            kill_at_change(below, at)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - a process's edge
            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status != 0


def deaths(
    folder: Path, sandbox: ProcessSandbox, prepare: Callable[[Scene], None], work: str
) -> int:
    """Let the work die before each of its changes, and finish it; give how many there were."""
    for number in itertools.count():
        assert number < MOST
        place = folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        scene = Scene(place, sandbox)
        prepare(scene)
        died = dies(getattr(scene, work), place, number)
        scene.check_whole()
        scene.finish()
        scene.check_finished()
        if not died:
            return number
    raise AssertionError


def test_a_repair_that_dies_leaves_one_of_the_two(tmp_path: Path, sandbox: ProcessSandbox) -> None:
    """Before the exchange the damaged one is in place, after it the repaired one."""
    assert deaths(tmp_path, sandbox, lambda _: None, "place") > 8


@pytest.mark.parametrize("death", ["die_before_exchange", "die_after_exchange"])
def test_whoever_finishes_it_may_die_as_well(
    tmp_path: Path, sandbox: ProcessSandbox, death: str
) -> None:
    """What a repair that died has left is finished by any number of repairs that die."""

    def half(scene: Scene) -> None:
        assert dies(getattr(scene, death), scene.folder, MOST)

    assert deaths(tmp_path, sandbox, half, "finish") > 4


def test_a_folder_that_another_program_locks_is_told(
    tmp_path: Path, sandbox: ProcessSandbox
) -> None:
    """Nobody waits for it for ever; once it is free the repair goes on."""
    scene = Scene(tmp_path, sandbox)
    clock = ManualClock()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="locked by another program") as caught:
            finish_placing(scene.directory, clock)
    finally:
        os.close(descriptor)
    assert caught.value.kind == "cannot-write"
    assert clock.monotonic_s() < 60
    assert finish_placing(scene.directory, clock) is None


def test_a_directory_that_is_opened_meanwhile_stays(
    tmp_path: Path, sandbox: ProcessSandbox
) -> None:
    """Whoever has it open would go on in the damaged one, under another name."""
    scene = Scene(tmp_path, sandbox)
    opening = "import sys\nf = open(sys.argv[1], 'rb')\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", opening, str(scene.directory / DATABASE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        with pytest.raises(Conflict) as caught:
            scene.place()
        reader.communicate(b"")
    assert caught.value.kind == "still-open"
    assert [path.name for path in tmp_path.iterdir()] == ["chroma"]
    scene.check_finished()


def test_where_folders_have_no_locks_nothing_is_removed(
    tmp_path: Path, sandbox: ProcessSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks as if a repair had died may be another one's that is at it."""
    scene = Scene(tmp_path, sandbox)
    assert dies(scene.die_before_exchange, tmp_path, MOST)
    before = contents(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", refuse)
        assert finish_placing(scene.directory, ManualClock()) is None
    assert contents(tmp_path) == before
    scene.finish()
    scene.check_finished()


def test_what_was_kept_before_stays(tmp_path: Path, sandbox: ProcessSandbox) -> None:
    """A directory that is damaged and repaired again in the same second: both are kept."""
    scene = Scene(tmp_path, sandbox)
    clock = ManualClock()
    equipment = replace(scene.equipment, clock=clock)
    for number in range(3):
        made = make(tmp_path / f".made-{number}", REPAIRED)
        take_place(scene.directory, made, stamps(scene.directory), equipment)
    kept = sorted(path for path in tmp_path.iterdir() if ".damaged-" in path.name)
    assert [contents(path) for path in kept] == [scene.damaged, scene.repaired, scene.repaired]
    assert contents(scene.directory) == scene.repaired
