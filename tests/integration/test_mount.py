"""Versions on a mount: whole, shared, and gone when nobody needs them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Conflict, NotFound, Unavailable, UsageError
from chromaseal.ids import SystemIds
from chromaseal.mount import sync as syncing
from chromaseal.mount.filling import clone_file
from chromaseal.mount.sync import Synced
from chromaseal.mount.tidying import remove_attempts, remove_versions
from chromaseal.mount.versions import newest_first
from chromaseal.snapshot.checkout import sync as make_durable
from chromaseal.snapshot.version_id import parse
from chromaseal.testing.clock import START
from chromaseal.testing.directory_states import contents
from chromaseal.testing.machine import Machine
from chromaseal.testing.mount_scene import NAME, MountScene

NOBODY = 65534


def test_each_version_can_be_read(scene: MountScene) -> None:
    """What a reader copies is the version, byte for byte, and any client may write to it."""
    for number in range(4):
        synced = scene.next()
        assert synced.new
        version, files = scene.read()
        assert version.version_id == synced.version.version_id
        assert files == scene.state(number)
    copied = next(path for path in scene.mount.with_name("copies").rglob("chroma.sqlite3"))
    assert copied.stat().st_mode & 0o200


def test_what_is_written_is_what_changed(scene: MountScene) -> None:
    """A file that another version has is the same file; the figure counts every other byte."""
    scene.next()
    synced = scene.next()
    before, now = scene.state(0), scene.state(1)
    changed = {path: body for path, body in now.items() if before.get(path) != body}
    place = scene.layout.version(newest_first(scene.layout)[0])
    beside = (place / "version.json").stat().st_size + scene.layout.current.stat().st_size
    assert synced.written_bytes == sum(map(len, changed.values())) + beside
    assert synced.shared_bytes == sum(len(b) for path, b in now.items() if path not in changed)
    for path in now:
        assert ((place / "directory" / path).stat().st_nlink == 1) is (path in changed)
        assert not (place / "directory" / path).stat().st_mode & 0o222


def test_without_links_every_version_stands_alone(scene: MountScene) -> None:
    """Where it is asked for; what was linked before is not touched."""
    scene.next()
    scene.push()
    synced = scene.sync(links=False)
    assert synced.shared_bytes == 0
    assert synced.written_bytes > synced.version.manifest.size_bytes
    assert {file.stat().st_nlink for file in files_of(synced)} == {1}
    assert scene.read()[1] == scene.state(1)


def test_through_fuse_every_version_stands_alone(
    scene: MountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody says otherwise: what a trial shows here says nothing of other machines."""
    monkeypatch.setattr(scene.machine.vault.parts.file_system, "kind", lambda _: "fuse.s3files")
    scene.next()
    synced = scene.next()
    assert {file.stat().st_nlink for file in files_of(synced)} == {1}
    scene.push()
    assert max(file.stat().st_nlink for file in files_of(scene.sync(links=True))) > 1


def test_links_that_do_not_hold_are_replaced_by_copies(
    scene: MountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is gone once the version has its own is seen at once, and nobody reads that."""
    scene.next()
    scene.push()
    lost: list[Path] = []

    def lose(directory: Path) -> None:
        make_durable(directory)
        newest = scene.layout.files(newest_first(scene.layout)[0])
        linked = [file for file in newest.rglob("*") if file.is_file() and file.stat().st_nlink > 1]
        if directory == scene.layout.versions and linked and not lost:
            linked[0].unlink()
            lost.append(linked[0])

    monkeypatch.setattr(syncing, "make_durable", lose)
    synced = scene.sync()
    assert len(lost) == 1
    assert synced.directory not in lost[0].parents
    assert {file.stat().st_nlink for file in files_of(synced)} == {1}
    assert scene.numbers() == [1, 2]
    assert scene.read()[1] == scene.state(1)
    assert not scene.sync().new


def files_of(synced: Synced) -> list[Path]:
    """Give the files of the version that was brought."""
    return [path for path in synced.directory.rglob("*") if path.is_file()]


def test_a_second_time_costs_nothing(scene: MountScene) -> None:
    """What is there is neither fetched nor written again."""
    scene.next()
    there = {path: path.stat().st_mtime_ns for path in scene.mount.rglob("*")}
    again = scene.sync()
    assert (again.new, again.written_bytes) == (False, 0)
    assert {path: path.stat().st_mtime_ns for path in scene.mount.rglob("*")} == there


def test_only_changed_pages_are_written_where_parts_can_be_shared(scene: MountScene) -> None:
    """A file system that shares parts of files is written the changed pages alone."""

    def clone(source: int, target: int) -> bool:
        os.pwrite(target, os.pread(source, os.fstat(source).st_size, 0), 0)
        return True

    synced = scene.next()
    whole = synced.written_bytes
    for number in range(1, 7):
        scene.push()
        synced = scene.sync(clone=clone)
        assert scene.read()[1] == scene.state(number)
        assert synced.written_bytes < whole
        size_bytes = synced.version.manifest.size_bytes
        assert synced.shared_bytes > 0
        assert synced.written_bytes - size_bytes + synced.shared_bytes < 20_000
    before, now = scene.state(5), scene.state(6)
    pages = 0
    for path, body in now.items():
        old = before.get(path, b"")
        starts = range(0, len(body), 4096)
        pages += sum(old[s : s + 4096] != body[s : s + 4096] for s in starts)
    assert synced.written_bytes < 4096 * pages + 20_000


def test_a_file_system_that_cannot_share_is_noticed(tmp_path: Path) -> None:
    """Whether it can or not, nothing is raised; what was said to be shared is shared."""
    (tmp_path / "one").write_bytes(b"x" * 5000)
    with (tmp_path / "one").open("rb") as one, (tmp_path / "other").open("wb") as other:
        shared = clone_file(one.fileno(), other.fileno())
    assert (tmp_path / "other").read_bytes() == (b"x" * 5000 if shared else b"")


def test_old_versions_leave(scene: MountScene) -> None:
    """The newest stay, as many as were asked for."""
    for _ in range(3):
        scene.next()
    synced = scene.next()
    assert scene.numbers() == [3, 4]
    assert len(synced.removed) == 1
    scene.push()
    scene.sync(keep=1)
    assert scene.numbers() == [5]
    assert scene.read()[0].manifest.number == scene.numbers()[0]
    assert list(scene.layout.work.iterdir()) == []
    assert list(scene.layout.leaving.iterdir()) == []


def test_a_version_that_was_written_to_is_made_anew(scene: MountScene) -> None:
    """Whoever opens a version in place spoils it for nobody: the next sync sees it."""
    scene.next()
    file = scene.layout.files(newest_first(scene.layout)[0]) / "chroma.sqlite3"
    file.chmod(0o644)
    with file.open("r+b") as database:
        database.seek(5000)
        database.write(b"written in place")
    assert scene.sync().new
    assert scene.read()[1] == scene.state(0)


def test_existing_readers_find_a_version(scene: MountScene) -> None:
    """Under the name that they look for stands a plain directory, which leaves with it."""
    scene.push()
    version = scene.sync(existing_readers=True).version
    tree = scene.mount / "snapshots" / NAME
    name = (tree / ".version").read_text().strip()
    assert version.version_id.startswith(name[:22])
    assert contents(tree / name) == scene.state(0)
    shutil.copytree(tree / name, scene.mount.with_name("their copy"))
    assert contents(scene.mount.with_name("their copy")) == scene.state(0)
    for _ in range(3):
        scene.push()
        scene.sync(existing_readers=True)
    linked = sorted(path.name for path in tree.iterdir() if path.is_dir())
    assert len(linked) == len(list(tree.iterdir())) - 1 == 2
    assert contents(tree / linked[-1]) == scene.state(3)


def test_a_link_is_made_up_for(scene: MountScene) -> None:
    """A version that is there gets its other name when that is asked for."""
    scene.next()
    synced = scene.sync(existing_readers=True)
    assert not synced.new
    assert (scene.mount / "snapshots" / NAME / ".version").exists()


def test_another_vault_is_refused(scene: MountScene, states: list[Path], tmp_path: Path) -> None:
    """Readers of a collection never get another vault's."""
    scene.next()
    other = scene.machine.stranger(tmp_path / "other", ObstoreObjectStore("memory://"))
    other.push(NAME, states[3])
    other.vault.parts.checkouts.vault_id = "another"
    for _ in range(2):
        with pytest.raises(Conflict, match="another vault") as found:
            syncing.sync(other.vault.parts, NAME, scene.mount)
        assert found.value.kind == "other-vault"
    assert scene.next().new


def test_who_dies_at_anothers_mount_does_not_come_again_as_its_owner(
    scene: MountScene, states: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign vault leaves no mark that its next process could take for the vault's own."""
    scene.next()
    marks = list(scene.layout.vaults.iterdir())
    other = scene.machine.stranger(tmp_path / "other", ObstoreObjectStore("memory://"))
    other.push(NAME, states[3])
    other.vault.parts.checkouts.vault_id = "another"
    # As if it had been killed before it removes anything.
    monkeypatch.setattr(Path, "rmdir", lambda _: None)
    with pytest.raises(Conflict):
        syncing.sync(other.vault.parts, NAME, scene.mount)
    assert list(scene.layout.vaults.iterdir()) == marks


def test_what_cannot_be_synced_to_is_said(scene: MountScene) -> None:
    """A directory that is not there is not made: the file system may not be mounted."""
    scene.push()
    scene.mount.rmdir()
    with pytest.raises(NotFound, match="no directory") as found:
        scene.sync()
    assert found.value.kind == "no-mount"
    with pytest.raises(UsageError):
        scene.sync(keep=0)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Be a user who may do nothing in particular, where the tests are root's."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_missing_permission_is_found_first(machine: Machine, states: list[Path]) -> None:
    """Nothing is fetched for a mount that this user may not write to."""
    with tempfile.TemporaryDirectory() as folder:
        mount = Path(folder) / "mount"
        mount.mkdir()
        Path(folder).chmod(0o755)
        scene = MountScene(machine, states, mount)
        scene.next()
        scene.push()
        shutil.rmtree(machine.cache)
        for path in (scene.layout.work, scene.layout.versions, mount):
            path.chmod(0o555)
            with nobody(), pytest.raises(Conflict, match="cannot be written") as found:
                scene.sync()
            assert found.value.kind == "cannot-write"
            path.chmod(0o755)
        assert not machine.cache.exists()
        assert scene.sync().new


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Give a directory on a file system of 3 MB."""
    # Outside of pytest's own: nothing removes the place of a mount that a killed test left.
    disk = Path(tempfile.mkdtemp(prefix="chromaseal-small-disk-"))
    if os.system(f"mount -t tmpfs -o size=3m tmpfs {disk} 2>/dev/null"):  # noqa: S605
        disk.rmdir()
        pytest.skip("this user may not mount a small file system")
    yield disk
    os.system(f"umount -l {disk}")  # noqa: S605
    disk.rmdir()


def test_a_full_disk_is_found_before_anything_is_begun(
    machine: Machine, states: list[Path], small_disk: Path
) -> None:
    """Where a version cannot have room, nothing is fetched or written."""
    mount = small_disk / "mount"
    mount.mkdir()
    scene = MountScene(machine, states, mount)
    scene.next()
    scene.push()
    (small_disk / "other").write_bytes(b"x" * 2_000_000)
    with pytest.raises(Unavailable, match="nothing was begun") as found:
        scene.sync()
    assert found.value.kind == "disk-full"
    assert scene.read()[1] == scene.state(0)
    (small_disk / "other").unlink()
    assert scene.sync().new


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(
    machine: Machine, states: list[Path], small_disk: Path
) -> None:
    """Room that others take in the middle of it is an error, and the mount is as it was."""
    mount = small_disk / "mount"
    mount.mkdir()
    scene = MountScene(machine, states, mount)
    scene.next()
    scene.push()

    def fill(*_: int) -> bool:
        with contextlib.suppress(OSError), (small_disk / "other").open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        return False

    with pytest.raises(Conflict, match="No space left") as found:
        scene.sync(clone=fill)
    assert found.value.kind == "cannot-write"
    assert list(scene.layout.work.iterdir()) == []
    (small_disk / "other").unlink()
    assert scene.read()[1] == scene.state(0)
    assert scene.sync().new
    assert scene.read()[1] == scene.state(1)


def test_an_attempt_is_never_half_removed_under_its_name(
    scene: MountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its maker may be alive, and give it a version's name at that very moment."""
    scene.next()
    made = scene.layout.work / "0123456789ab"
    made.mkdir()
    seen: list[str] = []
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: seen.append(path.name))
    remove_attempts(scene.layout, SystemIds())
    assert not made.exists()
    assert made.name not in seen


def test_a_late_tidier_removes_no_newer_version(scene: MountScene) -> None:
    """Who believes an old version to be the newest leaves newer ones alone."""
    scene.next()
    old = newest_first(scene.layout)[0]
    scene.next()
    remove_versions(scene.layout, old, keep=1, clock=scene.clock, ids=SystemIds())
    assert scene.numbers() == [1, 2]
    assert scene.clock.now() > START


def test_versions_are_called_as_in_a_mirror(scene: MountScene) -> None:
    """Readers who learn the newest version's name from a mirrored bucket find it on the mount."""
    scene.push()
    version_id = scene.sync(existing_readers=True).version.version_id
    name = (scene.mount / "snapshots" / NAME / ".version").read_text().strip()
    assert name == f"{version_id[:22]}_{version_id[30:38]}" == parse(version_id).existing_name
