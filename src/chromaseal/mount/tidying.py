"""What a mount does not need any more goes; only whoever has the turn does this."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from chromaseal.clock import Clock
from chromaseal.ids import Ids
from chromaseal.mount.existing import remove_links
from chromaseal.mount.layout import DirectoryName, Layout, Lease, attempt_of, parse_lease
from chromaseal.mount.retention import held, holds, staying
from chromaseal.mount.versions import names_in


def remove_attempts(layout: Layout, ids: Ids) -> None:
    """Remove what attempts left that died, or that lost their turn and will find it gone.

    Each is given another name first: one that is not dead must not become visible half removed.
    """
    for left in _listed(layout.work):
        aside = layout.work / attempt_of(ids.unique())
        with contextlib.suppress(OSError):
            (layout.work / left).rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
            aside.unlink(missing_ok=True)


def remove_versions(
    layout: Layout, brought: DirectoryName, *, keep: int, clock: Clock, ids: Ids
) -> list[DirectoryName]:
    """Remove the versions that are to leave and that no reader holds.

    Each is announced before the leases are looked at, and readers look at announcements after
    they have taken a lease: of two that meet, at least one sees the other.

    Args:
        layout: of the collection.
        brought: the vault's newest version.
        keep: how many versions stay.
        clock: by which leases run out.
        ids: for the names that versions are removed under.

    Returns:
        What has left.
    """
    names = names_in(layout.versions)
    doubted = names_in(layout.doubted)
    stay = staying(names, doubted, brought, keep)
    doomed = names - stay
    for name in doomed:
        (layout.leaving / str(name)).mkdir(exist_ok=True)
    in_use = held(_leases(layout), clock.now())
    left = sorted(doomed - in_use)
    for name in left:
        remove_links(layout, name)
        # Nobody is to see half of it under its own name.
        aside = layout.work / attempt_of(ids.unique())
        with contextlib.suppress(FileNotFoundError):
            layout.version(name).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    _remove_marks(layout.leaving, doomed - set(left))
    _remove_marks(layout.doubted, names - set(left))
    _remove_leases(layout, clock)
    return left


def _remove_marks(folder: Path, but: Collection[DirectoryName]) -> None:
    for name in names_in(folder) - set(but):
        with contextlib.suppress(OSError):
            (folder / str(name)).rmdir()


def _remove_leases(layout: Layout, clock: Clock) -> None:
    for lease in _leases(layout):
        if not holds(lease, clock.now()):
            with contextlib.suppress(OSError):
                (layout.leases / str(lease)).rmdir()


def _leases(layout: Layout) -> list[Lease]:
    found = map(parse_lease, _listed(layout.leases))
    return [lease for lease in found if lease is not None]


def _listed(folder: Path) -> list[str]:
    return os.listdir(folder)  # noqa: PTH208 - names, no paths
