"""A vault and a mount that it is synced to, with readers that copy from there."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from chromaseal.errors import Damaged
from chromaseal.ids import SystemIds
from chromaseal.mount import sync as syncing
from chromaseal.mount.layout import DONE, Layout, Lease
from chromaseal.mount.reading import open_copy_from_mount
from chromaseal.mount.retention import LEASE_S
from chromaseal.mount.sync import Synced, Wishes
from chromaseal.mount.versions import names_in, newest_first
from chromaseal.sandbox import Progress, no_progress
from chromaseal.snapshot.manifest import Version
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.directory_states import contents
from chromaseal.testing.machine import Machine

NAME = "notes"


class MountScene:
    """A vault, and a mount that it is synced to.

    Args:
        machine: with an empty vault.
        states: what its application reaches, one after the other.
        mount: an empty directory.
    """

    def __init__(self, machine: Machine, states: list[Path], mount: Path) -> None:
        self.clock = ManualClock()
        machine.vault.parts = replace(machine.vault.parts, clock=self.clock)
        self.machine = machine
        self.mount = mount
        self.layout = Layout(mount, NAME)
        self._states = states
        self._copies = mount.with_name("copies")
        self.pushed = -1

    def push(self) -> None:
        """Let the application go on by a state."""
        self.clock.sleep(1)
        self.pushed += 1
        self.machine.push(NAME, self._states[self.pushed])

    def sync(self, **wishes: object) -> Synced:
        """Bring the newest version."""
        return syncing.sync(
            self.machine.vault.parts,
            NAME,
            self.mount,
            wishes=replace(Wishes(), **wishes),  # type: ignore[arg-type]
        )

    def next(self) -> Synced:
        """Do both."""
        self.push()
        return self.sync()

    def read(
        self,
        at: str = "",
        *,
        progress: Progress = no_progress,
        told: Callable[[str, Damaged], None] = lambda *_: None,
    ) -> tuple[Version, dict[str, bytes]]:
        """Copy a version; give its files too."""
        directory = self._copies / SystemIds().unique()
        version = open_copy_from_mount(
            self.mount,
            NAME,
            directory,
            clock=self.clock,
            ids=SystemIds(),
            at=at,
            progress=progress,
            told=told,
        )
        return version, contents(directory)

    def state(self, number: int) -> dict[str, bytes]:
        """Give the files of a state."""
        return contents(self._states[number])

    def numbers(self) -> list[int]:
        """Give the numbers of the versions that are there, a directory each."""
        return sorted(name.id.number for name in names_in(self.layout.versions))

    def lease(self, number: int, *, lasts_s: float = LEASE_S) -> Path:
        """Hold a version, as a reader does that is then killed."""
        name = next(n for n in names_in(self.layout.versions) if n.id.number == number)
        expires_at = self.clock.now() + dt.timedelta(seconds=lasts_s)
        place = self.layout.leases / str(Lease(name, "0" * 12, expires_at))
        place.mkdir(exist_ok=True)
        return place

    def end_turn(self) -> None:
        """Let the newest turn be over, as its holder does, or whoever waits long enough."""
        for turn in self.layout.turns.iterdir():
            (turn / DONE).mkdir(exist_ok=True)

    def damage(self, path: str) -> None:
        """Change a byte of a file of the newest version, so that only reading finds it."""
        file = self.layout.files(newest_first(self.layout)[0]) / path
        body, stamp = bytearray(file.read_bytes()), file.stat().st_mtime_ns
        body[len(body) // 2] ^= 1
        file.chmod(0o644)
        file.write_bytes(body)
        file.chmod(0o444)
        os.utime(file, ns=(stamp, stamp))
