"""A version's directory as it is kept on this machine, with what is known of its pages.

::

    <folder>/directory/     the version's files; never opened, never written
    <folder>/tables.json    per file: size and stamp; and in which boot of the machine
    <folder>/digests        16 bytes per page, file after file in the order of their paths

A power cut can leave a file with the right size and time and without its content, so after the
machine has started anew every page is checked once before anything else is believed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from chromaseal.digests import DIGEST_SIZE_BYTES, file_page_digests, pages_in
from chromaseal.errors import Damaged
from chromaseal.seal.page_table import FileStamp, Known, PageTable, Tables, stamp_of
from chromaseal.seal.sealed import plain_files
from chromaseal.snapshot.manifest import Version

_DIRECTORY = "directory"
_TABLES = "tables.json"
_DIGESTS = "digests"


@dataclass(frozen=True, slots=True)
class Kept:
    """A version's directory on this machine.

    Attributes:
        version: which version.
        directory: its files, which nobody writes.
        tables: the pages of each file, as the manifest has them.
    """

    version: Version
    directory: Path
    tables: Tables

    def known(self, stamps: Mapping[str, FileStamp], stamped_at_ns: int) -> Known:
        """Give what is known of a copy of this directory that has those stamps."""
        return Known(self.directory, self.tables, stamps, stamped_at_ns)


def stamps_of(directory: Path, tables: Tables) -> dict[str, FileStamp]:
    """Take the stamps of a directory's files."""
    return {path: stamp_of((directory / path).stat()) for path in tables}


def directory_in(folder: Path) -> Path:
    """Give where the files of a kept version stand in its folder."""
    return folder / _DIRECTORY


def write_kept(folder: Path, tables: Tables, boot_id: str) -> None:
    """Write down what is known of the directory in a folder, which is complete."""
    directory = directory_in(folder)
    stamps = stamps_of(directory, tables)
    files = {path: asdict(stamps[path]) for path in sorted(tables)}
    (folder / _DIGESTS).write_bytes(b"".join(tables[path].digests for path in sorted(tables)))
    temporary = folder / f"{_TABLES}.new"
    temporary.write_text(json.dumps({"boot_id": boot_id, "files": files}))
    temporary.replace(folder / _TABLES)


def read_kept(folder: Path, version: Version, boot_id: str) -> Kept | None:
    """Read what is kept of a version.

    Args:
        folder: where it is kept.
        version: which version.
        boot_id: of the machine as it runs now; after another one every page is checked.

    Returns:
        None if there is nothing, if a file was touched since or is one too many, or if what is
        written down is not what the manifest says.
    """
    directory = directory_in(folder)
    try:
        plain = json.loads((folder / _TABLES).read_text())
        digests = (folder / _DIGESTS).read_bytes()
        stamps = {path: FileStamp(**stamp) for path, stamp in plain["files"].items()}
        tables = _tables(stamps, digests)
        touched = _lasting(stamps) != _lasting(stamps_of(directory, tables))
        more = plain_files(directory) != sorted(tables)
        started_anew = plain["boot_id"] != boot_id
    except (OSError, ValueError, TypeError, KeyError, Damaged):
        return None
    entries = {entry.path: entry for entry in version.manifest.files}
    told = {path: table.entry(path) for path, table in tables.items()}
    if touched or more or told != entries:
        return None
    if started_anew:
        if any(file_page_digests(directory / p) != t.digests for p, t in tables.items()):
            return None
        write_kept(folder, tables, boot_id)
    return Kept(version, directory, tables)


def _lasting(stamps: Mapping[str, FileStamp]) -> dict[str, tuple[int, int, int]]:
    # Not the time of the last change: a later version that shares a file links to it.
    return {path: (s.size_bytes, s.modified_ns, s.inode) for path, s in stamps.items()}


def _tables(stamps: Mapping[str, FileStamp], digests: bytes) -> dict[str, PageTable]:
    tables, start = {}, 0
    for path in sorted(stamps):
        size_bytes = stamps[path].size_bytes
        length = pages_in(size_bytes) * DIGEST_SIZE_BYTES
        tables[path] = PageTable(size_bytes, digests[start : start + length])
        start += length
    return tables
