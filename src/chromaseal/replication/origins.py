"""What this machine remembers of directories that it published or brought to a version.

::

    <root>/<vault id>/<collection>/origins/<digest of the directory's path>.json
    <root>/<vault id>/<collection>/origins/<digest of the directory's path>.attempts
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from chromaseal.digests import blake3_hex
from chromaseal.errors import Damaged
from chromaseal.ids import Ids
from chromaseal.parts import Parts
from chromaseal.seal.page_table import FileStamp, stamp_of
from chromaseal.seal.sealed import plain_files
from chromaseal.snapshot.manifest import Version


@dataclass(frozen=True, slots=True)
class Origin:
    """A directory that was exactly a version.

    Attributes:
        version_id: which version.
        digests: of its files, by path.
        stamps: of its files at that time.
        stamped_at_ns: when, in nanoseconds since 1970.
    """

    version_id: str
    digests: Mapping[str, str]
    stamps: Mapping[str, FileStamp]
    stamped_at_ns: int

    def untouched(self, directory: Path) -> bool:
        """Whether a directory still is what it was, going by the stamps of its files."""
        try:
            return bool(self.stamps) and self.stamps == stamps_of_all(directory)
        except (Damaged, OSError):
            # Something is in it that no version has, or it changes at this moment.
            return False


def origin_of(version: Version, stamps: Mapping[str, FileStamp], stamped_at_ns: int) -> Origin:
    """Make the origin of a directory that is exactly a version."""
    digests = {entry.path: entry.digest for entry in version.manifest.files}
    return Origin(version.version_id, digests, stamps, stamped_at_ns)


def stamps_of_all(directory: Path) -> dict[str, FileStamp]:
    """Take the stamps of every file of a directory."""
    return {path: stamp_of((directory / path).stat()) for path in plain_files(directory)}


class Origins:
    """The origins of directories, for one collection.

    Args:
        folder: where the collection's files are kept on this machine.
        ids: for the names of temporary files.
        boot_id: which boot of the machine this is. A power cut can leave a file with the right
            stamp and without its content, so stamps of another one are forgotten.
    """

    def __init__(self, folder: Path, *, ids: Ids, boot_id: str) -> None:
        self._folder = folder / "origins"
        self._ids = ids
        self._boot_id = boot_id

    def read(self, directory: Path) -> Origin | None:
        """Give what is remembered of a directory."""
        try:
            plain = json.loads(self._path(directory).read_text())
            same_boot = plain["boot_id"] == self._boot_id
            known = plain["stamps"] if same_boot else {}
            stamps = {path: FileStamp(**stamp) for path, stamp in known.items()}
            return Origin(plain["version_id"], plain["digests"], stamps, plain["stamped_at_ns"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, directory: Path, origin: Origin) -> None:
        """Remember a directory; what cannot be remembered is only slower the next time."""
        path = self._path(directory)
        plain = {
            "directory": str(directory.absolute()),
            "version_id": origin.version_id,
            "digests": dict(origin.digests),
            "boot_id": self._boot_id,
            "stamped_at_ns": origin.stamped_at_ns,
            "stamps": {name: asdict(stamp) for name, stamp in origin.stamps.items()},
        }
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{self._ids.unique()}")
            temporary.write_text(json.dumps(plain))
            temporary.replace(path)
            self._attempts(directory).unlink(missing_ok=True)

    def announce(self, directory: Path, attempt: str) -> None:
        """Remember an attempt at publishing a directory, until it is written how that ended.

        Whoever dies as the pointer has just moved finds out by it that the newest version is
        what this directory was.
        """
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._attempts(directory).open("a") as file:
                file.write(f"{attempt}\n")

    def made(self, directory: Path, version: Version) -> bool:
        """Whether a version is what a directory was when this machine last published it."""
        origin = self.read(directory)
        if origin is not None and origin.version_id == version.version_id:
            return True
        try:
            attempts = self._attempts(directory).read_text().split()
        except OSError:
            return False
        return version.manifest.attempt in attempts

    def _attempts(self, directory: Path) -> Path:
        return self._path(directory).with_suffix(".attempts")

    def _path(self, directory: Path) -> Path:
        return self._folder / f"{blake3_hex(str(directory.resolve()).encode())[:32]}.json"


def origins_of(parts: Parts, collection: str) -> Origins:
    """Give what this machine remembers for a collection."""
    checkouts = parts.checkouts
    return Origins(checkouts.folder(collection), ids=parts.ids, boot_id=checkouts.boot_id)
