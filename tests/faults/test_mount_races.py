"""Many at one mount at once: processes, machines, readers; and any order of what can happen."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.clock import SystemClock
from chromaseal.errors import Damaged, NotFound
from chromaseal.ids import SystemIds
from chromaseal.mount.reading import open_copy_from_mount
from chromaseal.mount.retention import LEASE_S
from chromaseal.mount.turn import Turns
from chromaseal.testing.directory_states import contents
from chromaseal.testing.machine import Machine, RememberingSandbox
from chromaseal.testing.mount_scene import NAME, MountScene
from chromaseal.testing.shared_mount import mounted_twice, why_not
from chromaseal.testing.waiting import wait_until

PROCESSES = 6
VERSIONS = 4
STEPS = ("push", "sync", "sync", "read", "die", "lease", "wait", "damage", "remove pointer")


def sync_at_once(vault: Path, caches: Path, count: int, *mounts: Path) -> list[dict[str, int]]:
    """Let processes sync at once; give what each of them says."""
    module = "chromaseal.testing.syncing_at_once"
    command = [sys.executable, "-m", module, str(vault), str(caches), str(count)]
    done = subprocess.run(
        [*command, *map(str, mounts)], capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_one_of_many_processes_does_the_work(
    tmp_path: Path, states: list[Path], remembering: RememberingSandbox
) -> None:
    """Each ends with the version on the mount; exactly one has written anything."""
    store = LocalObjectStore(tmp_path / "vault")
    machine = Machine(store, tmp_path / "cache", tmp_path / "app", remembering)
    (tmp_path / "mount").mkdir()
    for number in range(VERSIONS):
        machine.push(NAME, states[number])
        said = sync_at_once(tmp_path / "vault", tmp_path / "caches", PROCESSES, tmp_path / "mount")
        assert len(said) == PROCESSES
        assert sorted(each["new"] for each in said) == [False] * (PROCESSES - 1) + [True]
        assert [each["new"] for each in said] == [each["written_bytes"] > 0 for each in said]
        scene = MountScene(machine, states, tmp_path / "mount")
        assert scene.read()[1] == scene.state(number)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(STEPS), max_size=14))
def test_any_order_of_events_serves_whole_versions(
    steps: list[str], states: list[Path], remembering: RememberingSandbox
) -> None:
    """A reader has what was synced last, unless that was damaged, and never less than is whole."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "mount").mkdir()
        machine = Machine(
            ObstoreObjectStore("memory://"), root / "cache", root / "app", remembering
        )
        scene = MountScene(machine, states, root / "mount")
        scene.push()
        synced, damaged = -1, False
        for step in [*steps, "sync", "read"]:
            if step == "push" and scene.pushed < len(states) - 1:
                scene.push()
            elif step == "sync":
                scene.sync()
                # A sync that finds all in place reads no files: it takes a reader to doubt them.
                damaged = damaged and synced == scene.pushed
                synced = scene.pushed
            elif step == "read":
                damaged = look(scene, synced, damaged=damaged)
            elif synced >= 0:
                disturb(scene, step)
                damaged = damaged or step == "damage"


def look(scene: MountScene, synced: int, *, damaged: bool) -> bool:
    """Read as a reader does; where that finds damage, the next sync mends it."""
    try:
        version, files = scene.read()
    except NotFound:
        assert synced < 0
        return False
    except Damaged:
        assert damaged
    else:
        assert files == scene.state(version.manifest.number - 1)
        if not damaged:
            assert version.manifest.number == synced + 1
            return False
    if scene.pushed == synced:
        scene.sync()
        assert scene.read()[1] == scene.state(synced)
        return False
    return damaged


def disturb(scene: MountScene, step: str) -> None:
    """Let something happen on a mount that has a version."""
    if step == "die":
        Turns(scene.layout.turns, "dead process", scene.clock).take()
        (scene.layout.work / "unfinished").mkdir(exist_ok=True)
    elif step == "lease":
        scene.lease(scene.numbers()[0])
    elif step == "wait":
        scene.clock.sleep(2 * LEASE_S)
    elif step == "damage":
        scene.damage("chroma.sqlite3")
    elif step == "remove pointer":
        scene.layout.current.unlink(missing_ok=True)


@pytest.mark.slow
def test_two_machines_share_a_network_file_system(
    tmp_path: Path, states: list[Path], remembering: RememberingSandbox
) -> None:
    """On a real network file system machines write and read at once, and no copy is torn.

    Exactly one does the work, also from another mount; a reader there is served whole versions
    only, and the newest of all in the end.
    """
    reason = why_not()
    if reason:
        pytest.skip(f"nothing can be mounted here: {reason}")
    store = LocalObjectStore(tmp_path / "vault")
    machine = Machine(store, tmp_path / "cache", tmp_path / "app", remembering)
    with mounted_twice(tmp_path / "weed") as (first, second):
        seen: list[int] = []
        failed: list[str] = []
        stop = threading.Event()
        reader = threading.Thread(target=keep_reading, args=(second, states, seen, failed, stop))
        reader.start()
        try:
            for number in range(VERSIONS):
                machine.push(NAME, states[number])
                caches = tmp_path / f"caches-{number}"
                said = sync_at_once(tmp_path / "vault", caches, 4, first, second)
                assert sorted(each["new"] for each in said) == [False] * 3 + [True]
            # This file system shows it late.
            wait_until(lambda: bool(failed) or VERSIONS in seen, "the newest version")
        finally:
            stop.set()
            reader.join()
        assert (failed, VERSIONS in seen) == ([], True)


def keep_reading(
    mount: Path, states: list[Path], seen: list[int], failed: list[str], stop: threading.Event
) -> None:
    """Copy the newest version again and again, and compare it with what it is to be."""
    with tempfile.TemporaryDirectory() as folder:
        while not stop.is_set():
            copy = Path(folder) / SystemIds().unique()
            try:
                version = open_copy_from_mount(
                    mount, NAME, copy, clock=SystemClock(), ids=SystemIds()
                )
            except (NotFound, Damaged):
                # This file system may show nothing whole for a while; that is refused, not served.
                stop.wait(0.05)
                continue
            except Exception as error:  # noqa: BLE001 - told by the test
                failed.append(repr(error))
                return
            number = version.manifest.number
            if contents(copy) != contents(states[number - 1]):
                failed.append(f"version {number} differs")
            seen.append(number)
