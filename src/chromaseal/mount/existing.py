"""Names under which programs that know nothing of chromaseal find a version on a mount.

They read ``<mount>/snapshots/<collection>/<version>/`` and copy it before they open it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from chromaseal.ids import Ids
from chromaseal.mount.layout import DirectoryName, Layout, attempt_of

_NEWEST = ".version"


def add_link(layout: Layout, name: DirectoryName, ids: Ids) -> int:
    """Let a version be found, and say that it is the newest; give the bytes that it took.

    Raises:
        OSError: the mount cannot be written to.
    """
    layout.links.mkdir(parents=True, exist_ok=True)
    called = name.id.existing_name
    link = layout.links / called
    if not has_link(layout, name):
        # Readers may look for it at any moment, so it comes in one step, whatever was there.
        unfinished = layout.work / attempt_of(ids.unique())
        unfinished.symlink_to(os.path.relpath(layout.files(name), layout.links))
        unfinished.replace(link)
    return replace_text(layout, layout.links / _NEWEST, called, ids)


def has_link(layout: Layout, name: DirectoryName) -> bool:
    """Whether a version is found under its other name."""
    link = layout.links / name.id.existing_name
    return _leads(link) == os.path.relpath(layout.files(name), layout.links)


def remove_links(layout: Layout, name: DirectoryName) -> None:
    """Take away the names of a version that leaves."""
    if has_link(layout, name):
        with contextlib.suppress(OSError):
            (layout.links / name.id.existing_name).unlink()


def replace_text(layout: Layout, path: Path, text: str, ids: Ids) -> int:
    """Put a short text in the place of another; nothing is written where it is the same.

    Returns:
        The bytes that were written.

    Raises:
        OSError: the mount cannot be written to.
    """
    body = f"{text}\n".encode()
    with contextlib.suppress(OSError):
        if path.read_bytes() == body:
            return 0
    unfinished = layout.work / attempt_of(ids.unique())
    unfinished.write_bytes(body)
    unfinished.replace(path)
    return len(body)


def _leads(link: Path) -> str | None:
    try:
        return str(link.readlink())
    except OSError:
        return None
