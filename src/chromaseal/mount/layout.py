"""What everything on a mount is called; ``docs/formats/mount.md`` describes it.

::

    <mount>/chromaseal/<collection>/vault/<vault id>/             whose collection it is
    <mount>/chromaseal/<collection>/versions/<directory name>/    one version, whole, never changed
                                        version.json              its manifest, byte for byte
                                        directory/                its files
    <mount>/chromaseal/<collection>/current                       the newest's directory name
    <mount>/chromaseal/<collection>/work/<attempt>/               being made, or being removed
    <mount>/chromaseal/<collection>/turns/<number>/               whose turn it is to sync
                                        beat                      that they live
                                        done.<directory name>/    that they have ended
    <mount>/chromaseal/<collection>/leases/<lease name>/          a reader copies a version
    <mount>/chromaseal/<collection>/leaving/<directory name>/     nobody is to begin to copy it
    <mount>/chromaseal/<collection>/doubted/<directory name>/     a reader found it damaged
    <mount>/snapshots/<collection>/<name>                         a link for other programs

A directory name is a version id, a dot, and the attempt that made it, so that no name is ever
given twice, whoever believes it to be their turn.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

from chromaseal.errors import Damaged
from chromaseal.keys import check_collection
from chromaseal.snapshot.version_id import VersionId, parse

ROOT = "chromaseal"
MANIFEST = "version.json"
FILES = "directory"
DONE = "done"
BEAT = "beat"
# Of every file of a version: whoever writes to one changes it.
MODIFIED_NS = 1_000_000_000
_ATTEMPT = re.compile(r"[0-9a-f]{12}")
_TURN = re.compile(r"\d{6,}")
_EXPIRY_FORMAT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True, order=True)
class DirectoryName:
    """The name of a version's directory; a greater one is a newer version."""

    version_id: str
    attempt: str

    def __str__(self) -> str:
        """Write it."""
        return f"{self.version_id}.{self.attempt}"

    @property
    def id(self) -> VersionId:
        """Give the version id's parts."""
        return parse(self.version_id)


@dataclass(frozen=True, slots=True)
class Lease:
    """A reader's claim on a version, until a moment by the reader's clock."""

    directory: DirectoryName
    reader: str
    expires_at: dt.datetime

    def __str__(self) -> str:
        """Write its name."""
        moment = self.expires_at.astimezone(dt.UTC).strftime(_EXPIRY_FORMAT)
        return f"{self.directory}.{self.reader}.{moment}"


class Layout:
    """Where a collection's things are on a mount.

    Args:
        mount: the directory that machines share.
        collection: whose.

    Raises:
        UsageError: ``bad-collection-name``.
    """

    def __init__(self, mount: Path, collection: str) -> None:
        self.mount = mount
        self.collection = check_collection(collection)
        self.root = mount / ROOT / collection
        self.vaults = self.root / "vault"
        self.versions = self.root / "versions"
        self.current = self.root / "current"
        self.work = self.root / "work"
        self.turns = self.root / "turns"
        self.leases = self.root / "leases"
        self.leaving = self.root / "leaving"
        self.doubted = self.root / "doubted"
        self.links = mount / "snapshots" / collection

    @property
    def folders(self) -> tuple[Path, ...]:
        """Give every folder that there is to be before the first version."""
        return (
            *(self.vaults, self.versions, self.work, self.turns),
            *(self.leases, self.leaving, self.doubted),
        )

    def version(self, name: DirectoryName) -> Path:
        """Give where a version is."""
        return self.versions / str(name)

    def files(self, name: DirectoryName) -> Path:
        """Give where a version's files are."""
        return self.version(name) / FILES


def parse_directory_name(text: str) -> DirectoryName | None:
    """Read a version directory's name; None for any other."""
    version_id, _, attempt = text.rpartition(".")
    try:
        parse(version_id)
    except Damaged:
        return None
    return DirectoryName(version_id, attempt) if _ATTEMPT.fullmatch(attempt) else None


def parse_lease(text: str) -> Lease | None:
    """Read a lease's name; None for any other."""
    rest, _, moment = text.rpartition(".")
    named, _, reader = rest.rpartition(".")
    directory = parse_directory_name(named)
    if directory is None or not _ATTEMPT.fullmatch(reader):
        return None
    try:
        expires_at = dt.datetime.strptime(moment, _EXPIRY_FORMAT).replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    return Lease(directory, reader, expires_at)


def done_name(brought: DirectoryName | None) -> str:
    """Write what ends a turn, with the version directory that it found or brought."""
    return f"{DONE}.{brought}" if brought else DONE


def parse_done(text: str) -> DirectoryName | None:
    """Read what a turn has brought; None where it ended without, or has not ended."""
    return parse_directory_name(text.removeprefix(f"{DONE}."))


def turn_name(number: int) -> str:
    """Write a turn's name."""
    return f"{number:06d}"


def parse_turn(text: str) -> int | None:
    """Read a turn's name; None for any other."""
    return int(text) if _TURN.fullmatch(text) else None


def attempt_of(unique: str) -> str:
    """Shorten a unique id to what names of attempts and readers have."""
    return unique[:12]
