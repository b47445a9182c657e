"""Mounts that no vault needs to know: what reads them, put together."""

from __future__ import annotations

from pathlib import Path

from chromaseal.clock import SystemClock
from chromaseal.ids import SystemIds
from chromaseal.mount import reading
from chromaseal.sandbox import Progress, no_progress
from chromaseal.snapshot.fallback import Told, tell_nobody
from chromaseal.snapshot.find import VersionName
from chromaseal.snapshot.manifest import Version


def open_copy_from_mount(
    mount: Path | str,
    collection: str,
    directory: Path | str,
    *,
    at: VersionName = "",
    told: Told = tell_nobody,
    progress: Progress = no_progress,
) -> Version:
    """Make a private copy of a version on a mount; see ``mount.reading``."""
    return reading.open_copy_from_mount(
        Path(mount),
        collection,
        Path(directory),
        clock=SystemClock(),
        ids=SystemIds(),
        at=at,
        told=told,
        progress=progress,
    )
