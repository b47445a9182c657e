"""SIGKILL before every change that a sync makes to a mount, and at every store operation.

Whoever looks finds the old version or the new one whole, and the next sync ends well.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.mount.versions import load, names_in
from chromaseal.snapshot.checkout import check_files
from chromaseal.testing.directory_states import contents
from chromaseal.testing.killed_work import KILLED, Job, Killing
from chromaseal.testing.machine import Machine, RememberingSandbox
from chromaseal.testing.mount_scene import NAME, MountScene

SYNCED = 2
NEWEST = 3
NEVER = 1_000_000
MOST = 300
EVERY = 6


@pytest.fixture(scope="module")
def killing() -> Iterator[Killing]:
    """Give a process that forks for every death."""
    with Killing() as process:
        yield process


class Ground:
    """A vault with one version more than its mount, to be copied for every death.

    Args:
        folder: an empty one.
        states: what the versions are.
        sandbox: where they are verified.
        killing: where syncs die.
    """

    def __init__(
        self, folder: Path, states: list[Path], sandbox: RememberingSandbox, killing: Killing
    ) -> None:
        self._folder = folder
        self._states = states
        self._killing = killing
        self._machine = Machine(
            LocalObjectStore(folder / "vault"), folder / "cache", folder / "app", sandbox
        )
        (folder / "mount").mkdir()
        (folder / "answers").write_text("{}")
        self._scene = MountScene(self._machine, states, folder / "mount")
        for _ in range(SYNCED):
            self._scene.push()
            self._scene.sync(existing_readers=True)
        self._scene.push()

    def die(self, *, change: int = -1, at: int = NEVER, landed: bool = False) -> bool:
        """Kill a sync, and look at what it leaves; tell whether it died at all."""
        mount = self._folder / "died"
        shutil.rmtree(mount, ignore_errors=True)
        shutil.copytree(self._folder / "mount", mount, symlinks=True)
        job = Job(
            "sync",
            str(self._folder / "vault"),
            str(self._folder / "cache"),
            str(mount),
            str(self._folder / "answers"),
            at=at,
            landed=landed,
            change=change,
        )
        code = self._killing.run(job)
        assert code in {0, KILLED}
        scene = MountScene(self._machine, self._states, mount)
        self._whole(scene, least=NEWEST if code == 0 else SYNCED)
        scene.sync(existing_readers=True)
        self._whole(scene, least=NEWEST)
        # What was only left to be removed waits for whoever finds the dead one's turn over.
        scene.end_turn()
        scene.sync(existing_readers=True)
        assert scene.numbers() == [SYNCED, NEWEST]
        for folder in (scene.layout.work, scene.layout.leaving, scene.layout.doubted):
            assert list(folder.iterdir()) == []
        tree = mount / "snapshots" / NAME
        newest = (tree / ".version").read_text().strip()
        assert contents(tree / newest) == scene.state(NEWEST - 1)
        return code == KILLED

    def _whole(self, scene: MountScene, *, least: int) -> None:
        """Check that nothing on the mount has a version's name without being it."""
        for name in names_in(scene.layout.versions):
            check_files(load(scene.layout, name).manifest, scene.layout.files(name))
        version, files = scene.read()
        assert least <= version.manifest.number <= NEWEST
        assert files == scene.state(version.manifest.number - 1)


@pytest.fixture
def ground(
    tmp_path: Path, states: list[Path], remembering: RememberingSandbox, killing: Killing
) -> Ground:
    """Give a vault that is a version ahead of its mount."""
    return Ground(tmp_path, states, remembering, killing)


def deaths(ground: Ground, every: int) -> int:
    """Let syncs die before each change, or each so many; give how many there were."""
    for number in itertools.count(0, every):
        assert number < MOST
        if not ground.die(change=number):
            return number // every
    raise AssertionError


def test_a_sync_may_die_before_some_changes(ground: Ground) -> None:
    """No death leaves anything visible, and the next sync finishes."""
    assert deaths(ground, EVERY) > 5


@pytest.mark.slow
def test_a_sync_may_die_before_any_change(ground: Ground) -> None:
    """The same, for each change."""
    assert deaths(ground, 1) > 40


@pytest.mark.parametrize("landed", [False, True])
def test_a_sync_may_die_at_any_store_operation(ground: Ground, landed: bool) -> None:  # noqa: FBT001
    """Who dies while it asks the vault leaves the mount as it was, or goes on."""
    died = 0
    while ground.die(at=died, landed=landed):
        died += 1
    assert died > 3
