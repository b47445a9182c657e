"""A version's manifest: everything that it is, in one immutable JSON object.

The format is described in ``docs/formats/version.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from chromaseal.clock import from_iso
from chromaseal.digests import blake3_hex
from chromaseal.embedding import ModelPin
from chromaseal.errors import Damaged, Unsupported
from chromaseal.seal.evidence import CheckEntry, FileEntry, RecordSummary
from chromaseal.snapshot.version_id import VersionId, parse

FORMAT = "chromaseal.version"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Parent:
    """The version that this one was made from."""

    version_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class MergedRun:
    """A run that the version contains, and the number of the version that merged it."""

    run_id: str
    created_at: str
    number: int

    @property
    def order(self) -> tuple[str, str]:
        """Where the run stands among all runs: the greater one is the later one."""
        return (self.created_at, self.run_id)


@dataclass(frozen=True, slots=True)
class LayerEntry:
    """One layer: ``digest`` covers the object, ``index_digest`` its index alone."""

    layer_id: str
    kind: str
    size_bytes: int
    digest: str
    index_offset: int
    index_size_bytes: int
    index_digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The immutable description of a version.

    Attributes:
        collection: whose version it is.
        number: from 1, without gaps along the history.
        created_at: UTC, ISO 8601 with microseconds.
        attempt: 32 hexadecimal digits that no other attempt to commit has.
        parent: the version before; None for number 1.
        writer: name, release and host of who made it.
        model: the model of its vectors, if it is known.
        records: count and multiset hash.
        runs: every run that it contains, in the order of their age.
        files: the directory.
        layers: where the directory's pages are, oldest first.
        checks: what was verified before publishing.
    """

    collection: str
    number: int
    created_at: str
    attempt: str
    parent: Parent | None
    writer: Mapping[str, str]
    model: ModelPin | None
    records: RecordSummary
    runs: tuple[MergedRun, ...]
    files: tuple[FileEntry, ...]
    layers: tuple[LayerEntry, ...]
    checks: tuple[CheckEntry, ...]

    @property
    def run_ids(self) -> frozenset[str]:
        """Give the ids of the runs that it contains."""
        return frozenset(run.run_id for run in self.runs)

    @property
    def merged_here(self) -> tuple[MergedRun, ...]:
        """Give the runs that came with this very version."""
        return tuple(run for run in self.runs if run.number == self.number)

    @property
    def size_bytes(self) -> int:
        """Give the bytes of its directory."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Version:
    """A manifest with the id and digest that its bytes have."""

    version_id: str
    digest: str
    manifest: Manifest

    @property
    def as_parent(self) -> Parent:
        """Give what a child says of this version."""
        return Parent(self.version_id, self.digest)


def encode(manifest: Manifest) -> tuple[Version, bytes]:
    """Write a manifest; its id follows from its bytes."""
    _check(manifest)
    plain = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(manifest)}
    body = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    digest = blake3_hex(body)
    version_id = VersionId(from_iso(manifest.created_at), manifest.number, digest[:32])
    return Version(str(version_id), digest, manifest), body


def decode(version_id: str, body: bytes) -> Version:
    """Read a manifest and check it against the id that it goes by.

    Raises:
        Damaged: ``bad-manifest`` or ``bad-version-id``.
        Unsupported: ``newer-version``.
    """
    digest = blake3_hex(body)
    if digest[:32] != parse(version_id).digest_prefix:
        raise Damaged(
            f"the manifest of {version_id} is not what its id says",
            kind="bad-manifest",
            hint="read the version before it, or bring the object back from a backup",
        )
    try:
        raw = json.loads(body)
        _check_format(version_id, raw)
        manifest = _manifest(raw)
        _check(manifest)
        own_id = VersionId(from_iso(manifest.created_at), manifest.number, digest[:32])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damaged(f"the manifest of {version_id} lacks {error}", kind="bad-manifest") from error
    if str(own_id) != version_id:
        raise Damaged(f"{version_id} says other than its manifest", kind="bad-manifest")
    return Version(version_id, digest, manifest)


def _check_format(version_id: str, raw: dict[str, Any]) -> None:
    if raw.get("format") != FORMAT:
        raise Damaged(f"{version_id} is no version of chromaseal", kind="bad-manifest")
    if raw["format_version"] > FORMAT_VERSION:
        raise Unsupported(
            f"{version_id} is in format {raw['format_version']}, written by chromaseal "
            f"{raw['writer'].get('chromaseal')}; this release reads {FORMAT_VERSION}",
            kind="newer-version",
            hint="upgrade chromaseal on this machine",
        )


def _manifest(raw: dict[str, Any]) -> Manifest:
    return Manifest(
        collection=raw["collection"],
        number=raw["number"],
        created_at=raw["created_at"],
        attempt=raw["attempt"],
        parent=Parent(**raw["parent"]) if raw["parent"] else None,
        writer=raw["writer"],
        model=ModelPin(**raw["model"]) if raw["model"] else None,
        records=RecordSummary(**raw["records"]),
        runs=tuple(MergedRun(**run) for run in raw["runs"]),
        files=tuple(FileEntry(**file) for file in raw["files"]),
        layers=tuple(LayerEntry(**layer) for layer in raw["layers"]),
        checks=tuple(CheckEntry(**check) for check in raw["checks"]),
    )


def _check(manifest: Manifest) -> None:
    if (manifest.parent is None) != (manifest.number == 1):
        raise Damaged("only the first version has no parent", kind="bad-manifest")
    if len(manifest.run_ids) != len(manifest.runs):
        raise Damaged("a manifest lists a run twice", kind="bad-manifest")
    paths = [file.path for file in manifest.files]
    if len(set(paths)) != len(paths):
        raise Damaged("a manifest lists a file twice", kind="bad-manifest")
    for path in paths:
        check_path(path)


def check_path(path: str) -> str:
    """Give a file's path back if it stays inside its directory.

    Raises:
        Damaged: ``bad-path``.
    """
    parts = PurePosixPath(path).parts
    plain = "/".join(parts) == path and "\\" not in path and "\x00" not in path
    if not parts or not plain or ".." in parts or path.startswith("/"):
        raise Damaged(f"a file may not be called {path!r}", kind="bad-path")
    return path
