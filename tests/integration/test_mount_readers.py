"""Readers of a mount: a version whole, whoever dies, removes or damages it meanwhile."""

from __future__ import annotations

import pytest

from chromaseal.errors import Damaged, NotFound
from chromaseal.mount.retention import LEASE_S, TOLERANCE_S
from chromaseal.mount.versions import newest_first
from chromaseal.testing.mount_scene import MountScene


def test_a_reader_keeps_its_version(scene: MountScene) -> None:
    """A version that is being copied stays until the copy is done, or the reader's time is up."""
    scene.next()
    held = scene.lease(1)
    scene.next()
    scene.push()
    scene.sync(keep=1)
    assert scene.numbers() == [1, 3]
    with pytest.raises(Damaged, match="leaving"):
        scene.read(at="1")
    scene.clock.sleep(LEASE_S + TOLERANCE_S + 1)
    scene.push()
    scene.sync(keep=1)
    assert scene.numbers() == [4]
    assert not held.exists()


def test_a_lease_that_no_clock_can_have_made_does_not_count(scene: MountScene) -> None:
    """A dead reader whose clock was years ahead holds nothing for years."""
    scene.next()
    scene.lease(1, lasts_s=3 * 365 * 86400)
    scene.next()
    scene.push()
    scene.sync(keep=1)
    assert scene.numbers() == [3]


def test_a_copy_renews_its_lease(scene: MountScene) -> None:
    """However long copying takes, the version stays."""
    scene.next()
    seen = []

    def slow(*_: int) -> None:
        scene.clock.sleep(LEASE_S / 2)
        seen.append([path.name for path in scene.layout.leases.iterdir()])
        if len(seen) == 1:
            scene.push()
            scene.push()
        scene.sync(keep=1)

    _, files = scene.read(progress=slow)
    assert files == scene.state(0)
    assert len({name for names in seen for name in names}) > 1
    assert list(scene.layout.leases.iterdir()) == []


def test_no_more_is_copied_than_a_version_has(scene: MountScene) -> None:
    """A file that somebody made long fills no reader's disk: it is refused as it would be whole."""
    scene.next()
    size_bytes = sum(map(len, scene.state(0).values()))
    file = scene.layout.files(newest_first(scene.layout)[0]) / "chroma.sqlite3"
    file.chmod(0o644)
    with file.open("r+b") as long:
        long.truncate(1 << 40)
    told: list[int] = []
    with pytest.raises(Damaged):
        scene.read(progress=lambda done, _: told.append(done))
    assert max(told, default=0) <= size_bytes
    assert scene.sync().new
    assert scene.read()[1] == scene.state(0)


def test_who_loses_a_version_copies_a_newer_one(scene: MountScene) -> None:
    """A reader whose lease did not count never has a mixture: it begins again."""
    scene.next()

    def lose(*_: int) -> None:
        for lease in scene.layout.leases.iterdir():
            lease.rmdir()
        if scene.pushed == 0:
            scene.push()
            scene.push()
            scene.sync(keep=1)

    version, files = scene.read(progress=lose)
    assert version.manifest.number == scene.numbers()[0]
    assert files == scene.state(2)
    assert list(scene.layout.doubted.iterdir()) == []


def test_readers_need_no_right_to_write(scene: MountScene) -> None:
    """Where no lease can be taken, a version is copied all the same."""
    scene.next()
    scene.layout.leases.rmdir()
    assert scene.read()[1] == scene.state(0)


def test_a_damaged_version_is_passed_over_and_made_anew(scene: MountScene) -> None:
    """A reader serves the one before and says so; the next sync replaces the bad one."""
    scene.next()
    scene.next()
    scene.damage("chroma.sqlite3")
    passed: list[str] = []
    version, files = scene.read(told=lambda version_id, _: passed.append(version_id))
    assert (version.manifest.number, files) == (1, scene.state(0))
    assert passed == [newest_first(scene.layout)[0].version_id]
    synced = scene.sync()
    assert synced.new
    assert scene.read()[1] == scene.state(1)
    assert scene.numbers() == [1, 2]
    assert list(scene.layout.doubted.iterdir()) == []


def test_damage_is_not_shared(scene: MountScene) -> None:
    """A damaged file that several versions share is written anew, not linked to again."""
    scene.next()
    scene.next()
    same = [p for p, body in scene.state(1).items() if scene.state(0).get(p) == body and body]
    scene.damage(same[0])
    with pytest.raises(Damaged, match="is not what version 2"):
        scene.read()
    assert scene.sync().new
    assert scene.read()[1] == scene.state(1)


def test_a_doubt_without_a_reason_is_removed(scene: MountScene) -> None:
    """A version that was doubted and is whole stays as it is."""
    scene.next()
    name = newest_first(scene.layout)[0]
    (scene.layout.doubted / str(name)).mkdir()
    assert not scene.sync().new
    assert newest_first(scene.layout) == [name]
    assert list(scene.layout.doubted.iterdir()) == []


def test_a_torn_pointer_misleads_nobody(scene: MountScene) -> None:
    """The pointer only says what can be found without it."""
    scene.next()
    scene.next()
    for torn in (b"", b"2026", b"\xff\xfe", scene.layout.current.read_bytes()[:70]):
        scene.layout.current.write_bytes(torn)
        assert scene.read()[1] == scene.state(1)
    assert not scene.sync().new
    assert scene.layout.current.read_text() == f"{newest_first(scene.layout)[0]}\n"


def test_versions_are_read_by_number_and_id(scene: MountScene) -> None:
    """What is on the mount can be named; what is not is told with what there is."""
    with pytest.raises(NotFound, match="no version of notes"):
        scene.read()
    scene.next()
    version = scene.next().version
    assert scene.read("1")[1] == scene.state(0)
    assert scene.read(version.version_id)[1] == scene.state(1)
    with pytest.raises(NotFound, match="no version '7'") as found:
        scene.read("7")
    assert found.value.hint == "it has 1, 2"
