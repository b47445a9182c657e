"""The versions that are on a mount, and whether they are what they say."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from chromaseal.errors import Damaged
from chromaseal.mount.layout import (
    MANIFEST,
    MODIFIED_NS,
    DirectoryName,
    Layout,
    parse_directory_name,
)
from chromaseal.seal.evidence import FileEntry
from chromaseal.snapshot.checkout import check_file, check_files
from chromaseal.snapshot.manifest import Version, decode


def names_in(folder: Path) -> set[DirectoryName]:
    """Give the version directories, or the marks of such, that a folder has; none without it."""
    try:
        listed = os.listdir(folder)  # noqa: PTH208 - names, no paths
    except FileNotFoundError:
        return set()
    return {name for name in map(parse_directory_name, listed) if name is not None}


def vaults_beside(own: Path) -> set[str]:
    """Give the ids of other vaults that a collection is said to be of, by the mark of one."""
    return set(os.listdir(own.parent)) - {own.name}  # noqa: PTH208 - names, no paths


def read_current(layout: Layout) -> DirectoryName | None:
    """Read the pointer; None where it is missing, or was read while another took its place.

    A file that is replaced may be read torn, so it only counts where it names what is there.
    """
    try:
        name = parse_directory_name(layout.current.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None
    return name if name is not None and layout.version(name).is_dir() else None


def newest_first(layout: Layout) -> list[DirectoryName]:
    """Give all that are there; the pointer may know one that an old listing does not have."""
    names, current = names_in(layout.versions), read_current(layout)
    return sorted(names | ({current} if current else set()), reverse=True)


def load(layout: Layout, name: DirectoryName) -> Version:
    """Read a version's manifest, which its name has the digest of.

    Raises:
        Damaged: ``bad-manifest``, or ``missing-object`` where there is none.
        Unsupported: ``newer-version``.
    """
    try:
        body = (layout.version(name) / MANIFEST).read_bytes()
    except OSError as error:
        raise Damaged(
            f"{layout.version(name)} cannot be read: {error}", kind="missing-object"
        ) from error
    version = decode(name.version_id, body)
    if version.manifest.collection != layout.collection:
        raise Damaged(
            f"{name.version_id} is no version of {layout.collection}", kind="bad-manifest"
        )
    return version


def is_untouched(file: Path, entry: FileEntry) -> bool:
    """Whether a file is as it was made, as far as that can be told without reading it."""
    try:
        found = file.lstat()
    except OSError:
        return False
    return found.st_size == entry.size_bytes and found.st_mtime_ns == MODIFIED_NS


def seems_sound(layout: Layout, name: DirectoryName) -> bool:
    """Whether a version is whole, as far as that can be told without reading its files."""
    if (layout.doubted / str(name)).exists():
        return False
    try:
        entries = load(layout, name).manifest.files
    except Damaged:
        return False
    return all(is_untouched(layout.files(name) / entry.path, entry) for entry in entries)


def is_sound(layout: Layout, name: DirectoryName) -> bool:
    """Whether a version is whole; it is read where a reader doubts it, or it was touched."""
    if seems_sound(layout, name):
        return True
    try:
        version = load(layout, name)
        check_files(version.manifest, layout.files(name))
    except (Damaged, OSError):
        return False
    for entry in version.manifest.files:
        # Without the right to, it is read again the next time.
        with contextlib.suppress(OSError):
            os.utime(layout.files(name) / entry.path, ns=(MODIFIED_NS, MODIFIED_NS))
    with contextlib.suppress(OSError):
        (layout.doubted / str(name)).rmdir()
    return True


def shared_files(
    layout: Layout, wanted: Iterable[FileEntry], names: Iterable[DirectoryName]
) -> dict[str, Path]:
    """Find files of other versions that a version has too.

    Args:
        layout: of the collection.
        wanted: the version's files.
        names: the version directories to look in, the best first.

    Returns:
        By the version's paths. While a reader doubts any version, each is read before it is
        found: files that are shared may be damaged in others, too.
    """
    missing = {entry.path: entry for entry in wanted}
    doubting, found = bool(names_in(layout.doubted)), dict[str, Path]()
    for name in names:
        with contextlib.suppress(Damaged, OSError):
            manifest = load(layout, name).manifest
            directory = layout.files(name)
            there = {(e.digest, e.size_bytes): e for e in manifest.files}
            for path, entry in list(missing.items()):
                like = there.get((entry.digest, entry.size_bytes))
                if like is None:
                    continue
                if doubting or not is_untouched(directory / like.path, like):
                    check_file(manifest, like, directory)
                found[path] = directory / like.path
                del missing[path]
    return found
