"""A full bucket, or a full disk below a local vault: a clear error, nothing lost, nothing half."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.composition.engine import open_vault
from chromaseal.errors import NotFound, Unavailable
from chromaseal.ids import SystemIds
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.testing.audit import assert_clean, audit
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.directory_states import contents, made_states, replace_contents
from chromaseal.testing.full_disk import small_disk, why_not
from chromaseal.testing.oracle import Rows, assert_same_rows, change
from chromaseal.testing.records import record, upserts
from chromaseal.testing.servers import S3Server, seaweedfs
from chromaseal.testing.whole import WHOLE
from chromaseal.vault import Vault

RUNS, PUSHED = "words", "notes"
SMALL_BUCKET = ("-master.volumeSizeLimitMB=8", "-volume.max=1")
LARGE_BUCKET = ("-master.volumeSizeLimitMB=256", "-volume.max=4")
ROOM = [0, 8192, 12_288, 20_480, 40_960, 98_304, 393_216]


class Scene:
    """Who writes runs of one collection, compacts it, and pushes a directory to another.

    Args:
        settings: of the vault.
        sandbox: where directories are verified.
        directory: that is pushed.
    """

    def __init__(self, settings: Settings, sandbox: ProcessSandbox, directory: Path) -> None:
        self.settings = settings
        self.sandbox = sandbox
        self.directory = directory
        self.written: Rows = {}
        self.acknowledged: set[str] = set()
        self.tried: set[str] = set()
        self.pushed: list[Path] = []

    def open(self) -> Vault:
        """Open the vault, as a command does, but for time that waits for nothing."""
        vault = open_vault(self.settings, clock=ManualClock())
        vault.parts = replace(vault.parts, sandbox=self.sandbox)
        return vault

    def write(self, vault: Vault, number: int) -> None:
        """Write a run of a fixed name."""
        changes = upserts(*(record(f"{number}-{n}", n) for n in range(20)))
        self.tried.add(f"run-{number}")
        vault.write({RUNS: changes}, run_id=f"run-{number}")
        self.acknowledged.add(f"run-{number}")
        change(self.written, changes)

    def push(self, vault: Vault, state: Path) -> None:
        """Publish the next state of the directory."""
        replace_contents(self.directory, state)
        vault.push(self.directory, PUSHED)
        self.pushed.append(state)

    def compact(self, vault: Vault) -> None:
        """Merge what waits."""
        vault.compact([RUNS])

    def merged(self, vault: Vault) -> list[str]:
        """Give the runs of all versions."""
        return [run for entry in vault.log(RUNS) for run, _ in entry.version.runs]

    def check(self, vault: Vault) -> None:
        """What was acknowledged is there, versions are whole, and runs in them once."""
        for name in (RUNS, PUSHED):
            assert vault.verify(name, level="deep").sound
            assert not audit(vault.parts.store, name).missing
        merged = self.merged(vault)
        assert len(merged) == len(set(merged))
        assert set(merged) <= self.tried
        for run_id in self.acknowledged:
            part = vault.run(run_id).parts[RUNS]
            # A ledger that is full itself cannot be told how a merge ended; the next one does.
            wanted = RunState.COMPLETED if run_id in merged else RunState.PENDING
            assert part.state in (wanted, RunState.MERGING), run_id
        with vault.parts.checkouts.workspace() as workspace:
            vault.parts.checkouts.copy(vault.version(PUSHED), workspace / "copy")
            assert contents(workspace / "copy") == contents(self.pushed[-1])

    def check_finished(self, vault: Vault) -> None:
        """All that was tried is in, once, and nothing is left over."""
        self.check(vault)
        assert set(self.merged(vault)) == self.tried == self.acknowledged
        states = {vault.run(each).parts[RUNS].state for each in self.tried}
        assert states == {RunState.COMPLETED}
        with vault.reader(RUNS) as reader:
            assert_same_rows(reader.records(), self.written)
        for name in (RUNS, PUSHED):
            vault.gc(name)
            assert_clean(vault.parts.store, name)
        assert not [remark for remark in vault.doctor() if not remark.passed]


def kinds_of(*deeds: Callable[[], object]) -> list[str]:
    """Do things that may fail for want of room, and say how each failed; "" where it did not."""
    found = []
    for deed in deeds:
        try:
            deed()
        except Unavailable as error:
            found.append(error.kind if error.hint else "no hint")
        else:
            found.append("")
    return found


@pytest.mark.slow
def test_a_bucket_runs_full(
    tmp_path: Path, sandbox: ProcessSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write, compaction and push fail and change nothing; with room again the same calls go on."""
    scene, use = scene_in_bucket(tmp_path, sandbox, monkeypatch)
    with seaweedfs(tmp_path / "bucket", flags=SMALL_BUCKET) as server:
        use(server)
        run_full(scene, server)
    with seaweedfs(tmp_path / "bucket") as server:
        use(server)
        go_on(scene)


@pytest.mark.slow
@pytest.mark.skipif(not WHOLE, reason="with CHROMASEAL_WHOLE=1 alone; a full bucket is one")
def test_the_disk_of_a_bucket_runs_full(
    tmp_path: Path, sandbox: ProcessSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where the server itself is told that there is no space left on the device."""
    if reason := why_not():
        pytest.skip(reason)
    scene, use = scene_in_bucket(tmp_path, sandbox, monkeypatch)
    with small_disk(tmp_path / "bucket", 24 << 20) as disk:
        with seaweedfs(disk.place, flags=LARGE_BUCKET) as server:
            use(server)
            run_full(scene, server)
        disk.grow(200 << 20)
        with seaweedfs(disk.place, flags=LARGE_BUCKET) as server:
            use(server)
            go_on(scene)


def scene_in_bucket(
    folder: Path, sandbox: ProcessSandbox, monkeypatch: pytest.MonkeyPatch
) -> tuple[Scene, Callable[[S3Server], None]]:
    """Give a scene, and what lets it use a server, which may be another one each time."""
    ledger, prefix = f"sqlite:///{folder / 'ledger.sqlite'}", SystemIds().unique()
    scene = Scene(Settings("", ledger, folder / "cache"), sandbox, folder / "directory")

    def use(server: S3Server) -> None:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        scene.settings = replace(scene.settings, vault=server.url(prefix))

    return scene, use


def run_full(scene: Scene, server: S3Server) -> None:
    """Begin, and try everything in a bucket without room."""
    first, second = made_states()[:2]
    with scene.open() as vault:
        scene.write(vault, 0)
        scene.compact(vault)
        scene.push(vault, first)
        scene.write(vault, 1)
        fill(server)
        found = kinds_of(
            lambda: scene.write(vault, 2),
            lambda: scene.compact(vault),
            lambda: scene.push(vault, second),
        )
        # This server says that it failed, not why.
        assert found == ["unknown-outcome"] * 3
        scene.check(vault)
        assert scene.merged(vault) == ["run-0"]
        with pytest.raises(NotFound):
            vault.run("run-2")


def go_on(scene: Scene) -> None:
    """Do all of it again."""
    with scene.open() as vault:
        scene.check(vault)
        scene.write(vault, 2)
        scene.compact(vault)
        scene.push(vault, made_states()[1])
        scene.check_finished(vault)


def fill(server: S3Server) -> None:
    """Store what nobody wants until nothing more is taken, not even a few bytes."""
    store = server.store("filler")

    def store_until_full(size_bytes: int) -> None:
        for number in range(5000):
            store.create(f"{size_bytes}-{number}", bytes(size_bytes))

    for size_bytes in (1 << 20, 1 << 14, 1 << 8):
        with pytest.raises(Unavailable):
            store_until_full(size_bytes)


@pytest.mark.slow
@pytest.mark.parametrize("ledger", ["in the vault", "elsewhere"])
def test_a_local_vault_runs_full(tmp_path: Path, sandbox: ProcessSandbox, ledger: str) -> None:
    """With ever so little room: what fails changes nothing, and with room again all is there."""
    if reason := why_not():
        pytest.skip(reason)
    states = made_states()
    with small_disk(tmp_path / "disk", 4 << 20) as disk:
        place = disk.place / "vault"
        file = (place if ledger == "in the vault" else tmp_path) / "ledger.sqlite"
        settings = Settings(place.as_uri(), f"sqlite:///{file}", tmp_path / "cache")
        scene = Scene(settings, sandbox, tmp_path / "directory")
        with scene.open() as vault:
            scene.write(vault, 0)
            scene.compact(vault)
            scene.push(vault, states[0])
        found: list[str] = []
        for number, room in enumerate(ROOM, start=1):
            state = states[number % len(states)]
            with scene.open() as vault:
                scene.write(vault, -number)
                disk.fill(but_bytes=room)
                found += kinds_of(
                    lambda n=number, v=vault: scene.write(v, n),  # type: ignore[misc]
                    lambda v=vault: scene.compact(v),  # type: ignore[misc]
                    lambda v=vault, s=state: scene.push(v, s),  # type: ignore[misc]
                )
                disk.make_room()
                scene.check(vault)
        assert set(found) <= {"", "store-full", "ledger-unavailable"}
        assert "" not in found[:3]
        assert found[-3:] == ["", "", ""]
        with scene.open() as vault:
            for number in range(1, len(ROOM) + 1):
                scene.write(vault, number)
            scene.compact(vault)
            scene.push(vault, states[-1])
            scene.check_finished(vault)
