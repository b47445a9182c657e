"""What this machine remembers of directories that it published or brought to a version.

::

    <root>/<vault id>/<collection>/origins/<digest of the directory's path>.json
    <root>/<vault id>/<collection>/origins/<digest of the directory's path>.attempts
    <root>/<vault id>/<collection>/origins/<digest of the directory's path>.lock
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
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


@dataclass(frozen=True, slots=True)
class Lineage:
    """What this machine knows at one moment of where a directory's content came from.

    Attributes:
        origin: the version that it was, if it was one.
        attempts: at publishing it whose end is not known.
    """

    origin: Origin | None
    attempts: tuple[str, ...]

    def leads_to(self, version: Version) -> bool:
        """Whether a version is what the directory was, so that its content follows it."""
        if self.origin is not None and self.origin.version_id == version.version_id:
            return True
        return version.manifest.attempt in self.attempts


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

    @contextlib.contextmanager
    def locked(self, directory: Path) -> Iterator[None]:
        """Let nobody else on this machine replace a directory and say what it is now.

        Whoever copies a directory while others may replace it holds this, so that content and
        lineage go together. Where no lock can be had, nothing can be remembered either.
        """
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError):
                self._folder.mkdir(parents=True, exist_ok=True)
                lock = held.enter_context(self._path(directory).with_suffix(".lock").open("ab"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def write(self, directory: Path, origin: Origin) -> None:
        """Remember a directory.

        What cannot be remembered is forgotten: what it was before must not be taken for what it
        is.
        """
        path = self._path(directory)
        plain = {
            "directory": str(directory.absolute()),
            "version_id": origin.version_id,
            "digests": dict(origin.digests),
            "boot_id": self._boot_id,
            "stamped_at_ns": origin.stamped_at_ns,
            "stamps": {name: asdict(stamp) for name, stamp in origin.stamps.items()},
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(plain), self._ids)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
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
        return self.lineage(directory).leads_to(version)

    def lineage(self, directory: Path) -> Lineage:
        """Give what is known now of where a directory's content came from."""
        attempts: list[str] = []
        with contextlib.suppress(OSError, ValueError):
            attempts = self._attempts(directory).read_text().split()
        return Lineage(self.read(directory), tuple(attempts))

    def _attempts(self, directory: Path) -> Path:
        return self._path(directory).with_suffix(".attempts")

    def _path(self, directory: Path) -> Path:
        return self._folder / f"{blake3_hex(str(directory.resolve()).encode())[:32]}.json"


def write_whole(path: Path, text: str, ids: Ids) -> None:
    """Write a file that readers find whole, as it was or as it is to be.

    Raises:
        OSError: it could not be written, and is as it was.
    """
    temporary = path.with_name(f".{ids.unique()}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def origins_of(parts: Parts, collection: str) -> Origins:
    """Give what this machine remembers for a collection."""
    checkouts = parts.checkouts
    return Origins(checkouts.folder(collection), ids=parts.ids, boot_id=checkouts.boot_id)
