"""Turns at a mount: who is taken for dead, and wakes, spoils nothing of the next turn."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chromaseal.errors import Unavailable
from chromaseal.mount import sync as syncing
from chromaseal.mount import turn as turns
from chromaseal.mount.layout import BEAT, MANIFEST, turn_name
from chromaseal.mount.sync import Synced
from chromaseal.mount.turn import BEAT_S, EXPIRY_S, SILENCE_S, Turn, Turns, newest_turn
from chromaseal.mount.versions import newest_first, read_current
from chromaseal.snapshot.checkout import sync as make_durable
from chromaseal.snapshot.checkout import sync_tree
from chromaseal.snapshot.find import find
from chromaseal.snapshot.manifest import Version
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.mount_scene import MountScene
from chromaseal.testing.waiting import wait_until


def test_a_dead_process_is_waited_for_and_no_longer(scene: MountScene) -> None:
    """A turn whose holder shows no sign of life for a while is over."""
    scene.next()
    assert Turns(scene.layout.turns, "dead process", scene.clock).take() is not None
    scene.push()
    begun_s = scene.clock.monotonic_s()
    with pytest.raises(Unavailable, match="dead process is syncing") as found:
        scene.sync(wait_s=EXPIRY_S / 2)
    assert found.value.kind == "mount-busy"
    assert scene.sync().new
    assert EXPIRY_S <= scene.clock.monotonic_s() - begun_s < 2 * EXPIRY_S


class SlowDisk:
    """Takes its time to make a tree durable, until others have looked at the turn meanwhile.

    Args:
        scene: whose mount it is.
        looks: how often others look; each time longer than a turn of the dead lasts.
    """

    def __init__(self, scene: MountScene, looks: int) -> None:
        self._scene = scene
        self._looks = looks
        self._rivals = Turns(scene.layout.turns, "rival", scene.clock)
        self.taken: list[Turn] = []

    def sync_tree(self, tree: Path) -> None:
        """Do it."""
        sync_tree(tree)
        for _ in range(self._looks):
            if (turn := self._rivals.take()) is not None:
                self.taken.append(turn)
                return
            self._take_time()

    def _take_time(self) -> None:
        before = self._beat()
        self._scene.clock.sleep(2 * EXPIRY_S)
        wait_until(lambda: self._beat() != before, "another beat")

    def _beat(self) -> bytes:
        turns = self._scene.layout.turns
        return (turns / turn_name(newest_turn(turns)) / BEAT).read_bytes()


def test_who_is_in_one_long_call_keeps_the_turn(
    scene: MountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the mount is, the work is done once, and comes to an end."""
    scene.next()
    scene.push()
    monkeypatch.setattr(turns, "BEAT_S", 0.01)
    disk = SlowDisk(scene, looks=5)
    monkeypatch.setattr(syncing, "sync_tree", disk.sync_tree)
    before = newest_turn(scene.layout.turns)
    assert scene.sync().new
    assert disk.taken == []
    assert newest_turn(scene.layout.turns) == before + 1
    assert scene.read()[1] == scene.state(1)


def test_who_hangs_for_ever_loses_the_turn(
    scene: MountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sign of life is no sign of work: after a quarter of an hour in one call it is not given."""
    scene.next()
    scene.push()
    monkeypatch.setattr(turns, "BEAT_S", 0.01)
    rivals = Turns(scene.layout.turns, "rival", scene.clock)
    looks: list[Turn | None] = []

    def hang(tree: Path) -> None:
        sync_tree(tree)
        scene.clock.sleep(SILENCE_S)
        while not any(looks) and len(looks) < 5:
            looks.append(rivals.take())
            scene.clock.sleep(EXPIRY_S)

    monkeypatch.setattr(syncing, "sync_tree", hang)
    with pytest.raises(Unavailable, match="rival is syncing"):
        scene.sync(wait_s=0)
    # What was being written while the clock went on counts once more.
    assert len(looks) in {2, 3}
    assert looks[-1] is not None
    assert scene.numbers() == [1]


def test_signs_of_life_end_where_nothing_gets_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as a beat is due in the silence, and no more; once it gets on they go on, too."""
    clock = ManualClock()

    class Ticks:
        """Half an hour of beats that are due, in no time."""

        def __init__(self) -> None:
            self.left = 0

        def clear(self) -> None:
            self.left = 1 + round(2 * SILENCE_S / BEAT_S)

        def wait(self, duration_s: float) -> bool:
            clock.sleep(duration_s)
            self.left -= 1
            return not self.left

        def set(self) -> None:
            """Be waited for until the last one."""

    made = SimpleNamespace(Event=Ticks, Lock=threading.Lock, Thread=threading.Thread)
    monkeypatch.setattr(turns, "threading", made)
    turn = Turns(tmp_path, "somebody", clock).take()
    assert turn is not None
    given = []
    for _ in range(2):
        turn.beat()
        with turn.kept():
            pass
        given.append(int((tmp_path / turn_name(1) / BEAT).read_text().split()[-1]))
    assert SILENCE_S / BEAT_S / 2 < given[0] <= SILENCE_S / BEAT_S + 1
    assert SILENCE_S / BEAT_S / 2 < given[1] - given[0] <= SILENCE_S / BEAT_S + 1


def test_who_was_taken_for_dead_spoils_nothing(scene: MountScene) -> None:
    """A process that slept through its turn finds it lost, and what was made meanwhile."""
    scene.next()
    scene.push()
    rivals: list[Synced] = []

    def sleep(*_: int) -> bool:
        if not rivals:
            rivals.append(scene.sync())
        return False

    late = scene.sync(clone=sleep)
    assert [rivals[0].new, late.new] == [True, False]
    assert scene.numbers() == [1, 2]
    assert scene.read()[1] == scene.state(1)
    assert list(scene.layout.work.iterdir()) == []


def test_who_wakes_late_removes_nothing_of_the_next_turn(
    scene: MountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the sleep is before anything is made: what is in the making is another's."""
    scene.next()
    scene.push()
    made = scene.layout.work / "0123456789ab"
    looks: list[Version] = []

    def sleepy(*given: Any, **options: Any) -> Version:  # noqa: ANN401
        looks.append(find(*given, **options))
        if len(looks) == 2:
            scene.clock.sleep(EXPIRY_S)
            (scene.layout.turns / turn_name(newest_turn(scene.layout.turns) + 1)).mkdir()
            made.mkdir()
        return looks[-1]

    monkeypatch.setattr(syncing, "find", sleepy)
    with pytest.raises(Unavailable, match="syncing") as found:
        scene.sync(wait_s=0)
    assert found.value.kind == "mount-busy"
    assert made.is_dir()
    assert scene.numbers() == [1]


def test_who_wakes_late_shows_nothing_in_the_next_turn(
    scene: MountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is whole and durable, but of a turn that is over, does not become visible."""
    scene.next()
    scene.push()

    def sleepy(tree: Path) -> None:
        assert (tree / MANIFEST).is_file()
        sync_tree(tree)
        scene.clock.sleep(EXPIRY_S)
        (scene.layout.turns / turn_name(newest_turn(scene.layout.turns) + 1)).mkdir()

    monkeypatch.setattr(syncing, "sync_tree", sleepy)
    with pytest.raises(Unavailable, match="syncing") as found:
        scene.sync(wait_s=0)
    assert found.value.kind == "mount-busy"
    assert scene.numbers() == [1]
    assert list(scene.layout.work.iterdir()) == []


def test_who_wakes_late_leads_nobody_back(
    scene: MountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a version and its pointer another turn may bring the next: that is what counts."""
    scene.next()
    scene.push()
    rivals: list[Synced] = []

    def sleepy(path: Path) -> None:
        make_durable(path)
        if path == scene.layout.versions and not rivals:
            monkeypatch.undo()
            scene.clock.sleep(EXPIRY_S)
            scene.push()
            rivals.append(scene.sync())

    monkeypatch.setattr(syncing, "make_durable", sleepy)
    late = scene.sync()
    assert [rivals[0].new, late.new] == [True, False]
    assert read_current(scene.layout) == newest_first(scene.layout)[0]
    assert scene.read()[1] == scene.state(2)
