"""A mount -> a private, verified copy of the newest version on it, without any vault.

Opening ChromaDB is a write, and what others read is never written, so a reader copies. A lease
keeps the version meanwhile; without one, or with a clock that is wrong, the copy fails at worst
and a newer version is copied instead.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from chromaseal.clock import Clock
from chromaseal.errors import Damaged, NotFound
from chromaseal.ids import Ids
from chromaseal.mount.layout import DirectoryName, Layout, Lease, attempt_of
from chromaseal.mount.retention import LEASE_S
from chromaseal.mount.versions import load, names_in, newest_first
from chromaseal.sandbox import Progress, no_progress
from chromaseal.snapshot.checkout import absolute, appearing_whole, check_files, refuse_occupied
from chromaseal.snapshot.fallback import Told, tell_nobody
from chromaseal.snapshot.find import VersionName
from chromaseal.snapshot.manifest import Version
from chromaseal.telemetry.emit import event, step
from chromaseal.telemetry.observer import Severity

_LOOKS = 4
_FIRST_PAUSE_S = 0.25
_RENEWED_AFTER_S = LEASE_S / 3
_PIECE_BYTES = 4 << 20


def open_copy_from_mount(
    mount: Path,
    collection: str,
    directory: Path,
    *,
    clock: Clock,
    ids: Ids,
    at: VersionName = "",
    told: Told = tell_nobody,
    progress: Progress = no_progress,
) -> Version:
    """Make a verified copy of a version on a mount that any ChromaDB client may open and change.

    Every page is compared with the version's manifest, which the version's id has the digest of.
    Where no version is named and the newest is not whole, an older one is copied; the next
    ``sync`` makes the damaged one anew.

    Args:
        mount: what ``sync`` writes to.
        collection: whose version.
        directory: where to; must not exist or be an empty directory.
        clock: for the lease.
        ids: for unfinished names and the lease's.
        at: a number or an id; the newest by default.
        told: called for each version that is passed over, with its id and the reason.
        progress: called with copied and all bytes.

    Raises:
        Conflict: ``directory-not-empty`` or ``cannot-write``.
        NotFound: ``no-version``: the mount has none of that name.
        Damaged: no version of that name is whole; nothing is left behind.
    """
    layout, directory = Layout(mount, collection), absolute(directory)
    refuse_occupied(directory)
    reading = _Reading(layout, directory, clock, ids, progress)
    failed: dict[DirectoryName, Damaged] = {}
    with step("copy from mount", collection=collection, directory=str(directory)) as noted:
        for look in range(_LOOKS):
            if look:
                # Versions may leave while they are copied; then newer ones have come. And what
                # another machine has just written may read wrong here for a moment.
                clock.sleep(_FIRST_PAUSE_S * 2**look)
            for name in _wanted(layout, at):
                try:
                    version = reading.copy(name)
                except Damaged as error:
                    failed[name] = error
                    continue
                _tell_passed(failed, name, told)
                noted.note(version_id=version.version_id)
                return version
            if not failed:
                break
    if failed:
        raise failed[max(failed)]
    raise _no_version(layout, at)


def _wanted(layout: Layout, at: VersionName) -> list[DirectoryName]:
    names, wanted = newest_first(layout), str(at)
    if not wanted:
        return names
    return [n for n in names if n.version_id == wanted or str(n.id.number) == wanted]


def _tell_passed(failed: dict[DirectoryName, Damaged], served: DirectoryName, told: Told) -> None:
    for name, error in failed.items():
        if name.version_id > served.version_id:
            told(name.version_id, error)


def _no_version(layout: Layout, at: VersionName) -> NotFound:
    there = sorted({name.id.number for name in names_in(layout.versions)})
    what = f"no version {at!r}" if at else "no version"
    return NotFound(
        f"{layout.mount} has {what} of {layout.collection}",
        kind="no-version",
        hint="it has " + ", ".join(map(str, there))
        if there
        else f"chromaseal sync {layout.collection} {layout.mount}",
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    layout: Layout
    directory: Path
    clock: Clock
    ids: Ids
    progress: Progress

    def copy(self, name: DirectoryName) -> Version:
        """Copy a version under a lease.

        Raises:
            Damaged: it is not whole, or has left.
            Conflict: ``cannot-write``.
        """
        with _leased(self.layout, name, self.clock, self.ids) as lease:
            if (self.layout.leaving / str(name)).exists():
                raise _left(name)
            version = load(self.layout, name)
            with appearing_whole(self.directory, self.ids, durable=True) as unfinished:
                self._copy_files(version, name, unfinished, lease)
                try:
                    check_files(version.manifest, unfinished)
                except Damaged as error:
                    self._doubt(name, error)
                    raise
        return version

    def _copy_files(
        self, version: Version, name: DirectoryName, unfinished: Path, lease: _Held
    ) -> None:
        unfinished.mkdir()
        done, total = 0, version.manifest.size_bytes
        for entry in version.manifest.files:
            target = unfinished / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                source = (self.layout.files(name) / entry.path).open("rb")
            except OSError as error:
                self._doubt(name, error)
                raise _left(name) from error
            with source, target.open("wb") as copy:
                for piece in _pieces(source, name):
                    copy.write(piece)
                    done += len(piece)
                    if done > total:
                        # Whatever it is, it is not the version, and may have no end.
                        break
                    self.progress(done, total)
                    lease.renew()

    def _doubt(self, name: DirectoryName, error: Exception) -> None:
        """Have the next sync read a version that is there and is not what it says."""
        if not self.layout.version(name).exists():
            return
        reason = error.kind if isinstance(error, Damaged) else type(error).__name__
        event("version refused", Severity.WARNING, version_id=name.version_id, reason=reason)
        with contextlib.suppress(OSError):
            (self.layout.doubted / str(name)).mkdir()


def _pieces(source: IO[bytes], name: DirectoryName) -> Iterator[bytes]:
    while True:
        try:
            piece = source.read(_PIECE_BYTES)
        except OSError as error:
            # A network file system's word for a file that was removed under its reader.
            raise _left(name) from error
        if not piece:
            return
        yield piece


def _left(name: DirectoryName) -> Damaged:
    return Damaged(
        f"version {name.id.number} has left the mount, or is leaving",
        kind="missing-object",
        hint="copy the newest one",
    )


class _Held:
    """A lease, renewed by giving it another name; one that cannot be taken is done without."""

    def __init__(self, layout: Layout, name: DirectoryName, clock: Clock, ids: Ids) -> None:
        self._folder = layout.leases
        self._name = name
        self._clock = clock
        self._reader = attempt_of(ids.unique())
        self._taken_at_s = clock.monotonic_s()
        self._lease: Lease | None = self._new()
        try:
            (self._folder / str(self._lease)).mkdir()
        except OSError:
            self._lease = None

    def renew(self) -> None:
        """Hold on for longer; called often, it does so seldom."""
        now_s = self._clock.monotonic_s()
        if self._lease is None or now_s < self._taken_at_s + _RENEWED_AFTER_S:
            return
        longer = self._new()
        self._taken_at_s = now_s
        with contextlib.suppress(OSError):
            (self._folder / str(self._lease)).rename(self._folder / str(longer))
            self._lease = longer

    def release(self) -> None:
        """Let the version go."""
        with contextlib.suppress(OSError):
            (self._folder / str(self._lease)).rmdir()

    def _new(self) -> Lease:
        expires_at = self._clock.now() + dt.timedelta(seconds=LEASE_S)
        return Lease(self._name, self._reader, expires_at)


@contextlib.contextmanager
def _leased(layout: Layout, name: DirectoryName, clock: Clock, ids: Ids) -> Iterator[_Held]:
    lease = _Held(layout, name, clock, ids)
    try:
        yield lease
    finally:
        lease.release()
