"""What a mount can take, tried before anything is fetched, and what it says when it cannot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from chromaseal.errors import Conflict, Unavailable
from chromaseal.ids import Ids
from chromaseal.mount.layout import Layout, attempt_of
from chromaseal.mount.links import may_link
from chromaseal.snapshot.manifest import Version

# Manifest, pointer and names.
_BESIDE_FILES_BYTES = 1 << 20


def try_out(layout: Layout, kind: str, ids: Ids, *, links: bool | None) -> bool:
    """Do all that will have to be done.

    Args:
        layout: of the collection.
        kind: of the mount's file system; empty where nothing tells.
        ids: for the name of the trial.
        links: whether unchanged files are to be linked to; None to find out.

    Returns:
        Whether they are.

    Raises:
        OSError: this user may not.
    """
    probe = layout.work / attempt_of(ids.unique())
    with removed_after(probe):
        probe.mkdir()
        file = probe / "file"
        file.write_bytes(b"x")
        file.chmod(0o444)
        os.utime(file, ns=(0, 0))
        decided = may_link(kind, probe) if links is None else links
    for folder in layout.folders:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "this user may not write", str(folder))
    return decided


def refuse_full(layout: Layout, version: Version, shared: Collection[str]) -> None:
    """Refuse to begin what the mount has no room for.

    Args:
        layout: of the collection.
        version: that is to be brought.
        shared: paths of files that take no room.

    Raises:
        Unavailable: ``disk-full``.
    """
    missing = (e.size_bytes for e in version.manifest.files if e.path not in shared)
    needed_bytes = sum(missing) + _BESIDE_FILES_BYTES
    free_bytes = shutil.disk_usage(layout.mount).free
    if free_bytes < needed_bytes:
        raise Unavailable(
            f"version {version.manifest.number} of {version.manifest.collection} may take "
            f"{needed_bytes / 1e6:.0f} MB on {layout.mount}, which has "
            f"{free_bytes / 1e6:.0f} MB left; nothing was begun",
            kind="disk-full",
            hint="make room there, or keep fewer versions with --keep",
        )


@contextmanager
def removed_after(directory: Path) -> Iterator[None]:
    """Remove what is left of a directory in the end."""
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def writing_to(layout: Layout) -> Iterator[None]:
    """Say what is wrong where a mount refuses something.

    Raises:
        Conflict: ``cannot-write``.
    """
    try:
        yield
    except OSError as error:
        raise Conflict(
            f"{layout.mount} cannot be written: {error}",
            kind="cannot-write",
            hint="check free space, and that this user, or the access point's, may write there; "
            "nothing was left behind",
        ) from error
