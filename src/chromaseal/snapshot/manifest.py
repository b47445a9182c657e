"""A version's manifest: everything that it is, in one immutable JSON object.

The format is described in ``docs/formats/version.md``.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from chromaseal.clock import from_iso
from chromaseal.digests import blake3_hex
from chromaseal.embedding import ModelPin
from chromaseal.errors import Damaged, Unsupported
from chromaseal.seal.evidence import CheckEntry, CollectionSummary, FileEntry, RecordSummary
from chromaseal.snapshot.plain_types import check_types
from chromaseal.snapshot.version_id import VersionId, parse

FORMAT = "chromaseal.version"
FORMAT_VERSION = 2
# Between the slashes of a path; what begins or ends with a slash has an empty one.
_NO_NAMES = frozenset({"", ".", ".."})
_NAME = re.compile(r"[0-9a-z][0-9a-z-]{0,127}")
BASE = "base"
DIFF = "diff"


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
class PartEntry:
    """One object of a layer: ``digest`` covers its tail, from ``tail_offset`` to its end."""

    size_bytes: int
    tail_offset: int
    digest: str


@dataclass(frozen=True, slots=True)
class LayerEntry:
    """One layer.

    Attributes:
        layer_id: the beginning of its objects' keys.
        kind: ``base``: all pages; ``diff``: those that changed.
        first: a diff leads from the version before this one ...
        last: ... to this one; a base is this one.
        depth: how often its pages were folded with others'.
        parts: its objects.
    """

    layer_id: str
    kind: str
    first: int
    last: int
    depth: int
    parts: tuple[PartEntry, ...]

    @property
    def size_bytes(self) -> int:
        """Give the bytes of its objects."""
        return sum(part.size_bytes for part in self.parts)


@dataclass(frozen=True, slots=True)
class PastVersion:
    """What a version's descendants remember of it.

    Attributes:
        version_id: its id.
        records: how many it has.
        size_bytes: of its directory.
        stored_bytes: of the layers that were written for it.
        restores: the number of the version whose content a rollback brought back; or None.
        runs: what it merged: run ids, each with the time when the run began.
    """

    version_id: str
    records: int
    size_bytes: int
    stored_bytes: int
    restores: int | None
    runs: tuple[tuple[str, str], ...]

    @property
    def number(self) -> int:
        """Give the version's number."""
        return parse(self.version_id).number

    @property
    def created_at(self) -> dt.datetime:
        """Give when it was made."""
        return parse(self.version_id).created_at


_PAST_FIELDS = tuple(field.name for field in fields(PastVersion))


@dataclass(frozen=True, slots=True)
class PageEntry:
    """An object that lists past versions from number ``first`` to ``last``."""

    page_id: str
    first: int
    last: int
    size_bytes: int
    digest: str


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
        records: count and multiset hash, over all of its ChromaDB collections.
        collections: the ChromaDB collections in the directory.
        runs: what this very version merged, in the order of their age.
        restores: the number of the version whose content it brings back; None but for rollbacks.
        pages: where versions older than ``past`` are listed, oldest first.
        past: the versions before this one, oldest first, that no page lists.
        files: the directory.
        layers: where the directory's pages are: a base, then diffs, oldest first.
        step: the diff that leads here from the parent; None where there is none.
        packed_bytes: about what a new base of this version would take.
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
    collections: tuple[CollectionSummary, ...]
    runs: tuple[MergedRun, ...]
    restores: int | None
    pages: tuple[PageEntry, ...]
    past: tuple[PastVersion, ...]
    files: tuple[FileEntry, ...]
    layers: tuple[LayerEntry, ...]
    step: LayerEntry | None
    packed_bytes: int
    checks: tuple[CheckEntry, ...]

    @property
    def size_bytes(self) -> int:
        """Give the bytes of its directory."""
        return sum(file.size_bytes for file in self.files)

    @property
    def chain_bytes(self) -> int:
        """Give the bytes that a reader without any version fetches."""
        return sum(layer.size_bytes for layer in self.layers)

    @property
    def written_here(self) -> tuple[LayerEntry, ...]:
        """Give the layers that were written for this very version."""
        own = {} if self.step is None else {self.step.layer_id: self.step}
        prefix = f"{self.number:06d}-{self.attempt}-"
        own |= {e.layer_id: e for e in self.layers if e.layer_id.startswith(prefix)}
        return tuple(own.values())


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

    @property
    def as_past(self) -> PastVersion:
        """Give what the descendants of this version remember of it."""
        manifest = self.manifest
        return PastVersion(
            version_id=self.version_id,
            records=manifest.records.count,
            size_bytes=manifest.size_bytes,
            stored_bytes=sum(layer.size_bytes for layer in manifest.written_here),
            restores=manifest.restores,
            runs=tuple((run.run_id, run.created_at) for run in manifest.runs),
        )


def encode(manifest: Manifest) -> tuple[Version, bytes]:
    """Write a manifest; its id follows from its bytes."""
    _check(manifest)
    plain = {"format": FORMAT, "format_version": FORMAT_VERSION, **_plain(manifest)}
    body = to_json({**plain, "past": [past_row(past) for past in manifest.past]})
    digest = blake3_hex(body)
    version_id = VersionId(from_iso(manifest.created_at), manifest.number, digest[:32])
    return Version(str(version_id), digest, manifest), body


def to_json(plain: Mapping[str, Any]) -> bytes:
    """Write plain data and dataclasses of such as JSON, always in the same way."""
    text = json.dumps(
        plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain
    )
    return text.encode()


def _plain(entry: object) -> dict[str, Any]:
    return {f.name: getattr(entry, f.name) for f in fields(entry)}  # type: ignore[arg-type]


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
        check_types(manifest)
        _check(manifest)
        own_id = VersionId(from_iso(manifest.created_at), manifest.number, digest[:32])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise Damaged(f"the manifest of {version_id} lacks {error}", kind="bad-manifest") from error
    if str(own_id) != version_id:
        raise Damaged(f"{version_id} says other than its manifest", kind="bad-manifest")
    return Version(version_id, digest, manifest)


def past_row(past: PastVersion) -> list[Any]:
    """Write what a manifest or a history page says of one past version."""
    return [getattr(past, name) for name in _PAST_FIELDS]


def past_of(row: Sequence[Any]) -> PastVersion:
    """Read what ``past_row`` wrote."""
    plain = dict(zip(_PAST_FIELDS, row, strict=True))
    plain["runs"] = tuple((run_id, created_at) for run_id, created_at in plain["runs"])
    past = PastVersion(**plain)
    check_types(past)
    _check_restores(past.restores, past.number)
    return past


def _check_restores(restores: int | None, number: int) -> None:
    """Refuse what would lead a reader of the history in a circle."""
    if restores is not None and not 0 < restores < number:
        raise Damaged(f"version {number} restores what was not there", kind="bad-manifest")


def _check_format(version_id: str, raw: dict[str, Any]) -> None:
    if raw.get("format") != FORMAT:
        raise Damaged(f"{version_id} is no version of chromaseal", kind="bad-manifest")
    if raw["format_version"] != FORMAT_VERSION:
        newer = raw["format_version"] > FORMAT_VERSION
        raise Unsupported(
            f"{version_id} is in format {raw['format_version']}, written by chromaseal "
            f"{raw['writer'].get('chromaseal')}; this release reads {FORMAT_VERSION}",
            kind="newer-version" if newer else "older-version",
            hint=f"read it with chromaseal {raw['writer'].get('chromaseal')}"
            + (" or later" if newer else ""),
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
        collections=tuple(map(_collection, raw["collections"])),
        runs=tuple(MergedRun(**run) for run in raw["runs"]),
        restores=raw["restores"],
        pages=tuple(PageEntry(**page) for page in raw["pages"]),
        past=tuple(map(past_of, raw["past"])),
        files=tuple(FileEntry(**file) for file in raw["files"]),
        layers=tuple(map(_layer, raw["layers"])),
        step=_layer(raw["step"]) if raw["step"] else None,
        packed_bytes=raw["packed_bytes"],
        checks=tuple(CheckEntry(**check) for check in raw["checks"]),
    )


def _collection(raw: Mapping[str, Any]) -> CollectionSummary:
    return CollectionSummary(**{**raw, "records": RecordSummary(**raw["records"])})


def _layer(raw: Mapping[str, Any]) -> LayerEntry:
    return LayerEntry(**{**raw, "parts": tuple(PartEntry(**part) for part in raw["parts"])})


def _check(manifest: Manifest) -> None:
    if (manifest.parent is None) != (manifest.number == 1):
        raise Damaged("only the first version has no parent", kind="bad-manifest")
    if len({run.run_id for run in manifest.runs}) != len(manifest.runs):
        raise Damaged("a manifest lists a run twice", kind="bad-manifest")
    paths = [file.path for file in manifest.files]
    if len(set(paths)) != len(paths):
        raise Damaged("a manifest lists a file twice", kind="bad-manifest")
    if not paths:
        raise Damaged("a manifest lists no file", kind="bad-manifest")
    for path in paths:
        check_path(path)
    _check_past(manifest)
    _check_layers(manifest)


def _check_past(manifest: Manifest) -> None:
    _check_restores(manifest.restores, manifest.number)
    following = 1
    for page in manifest.pages:
        named = _NAME.fullmatch(page.page_id)
        if not named or page.first != following or page.last < page.first:
            raise Damaged("a manifest's history has gaps", kind="bad-manifest")
        following = page.last + 1
    numbers = [past.number for past in manifest.past]
    if numbers != list(range(following, following + len(numbers))) or (
        following + len(numbers) != manifest.number
    ):
        raise Damaged("a manifest's history has gaps", kind="bad-manifest")
    parent = manifest.parent
    if parent and manifest.past and manifest.past[-1].version_id != parent.version_id:
        raise Damaged("a manifest's history does not end at its parent", kind="bad-manifest")


def _check_layers(manifest: Manifest) -> None:
    chain = manifest.layers
    if not chain or chain[0].kind != BASE or any(e.kind != DIFF for e in chain[1:]):
        raise Damaged("a manifest's layers are not a base and diffs", kind="bad-manifest")
    ends = [layer.last for layer in chain]
    starts = [layer.first for layer in chain[1:]]
    if starts != [last + 1 for last in ends[:-1]] or ends[-1] != manifest.number:
        raise Damaged("a manifest's layers do not lead to it", kind="bad-manifest")
    step = manifest.step
    if step and (step.kind, step.first, step.last) != (DIFF, manifest.number, manifest.number):
        raise Damaged("a manifest's step does not lead to it from its parent", kind="bad-manifest")
    for layer in (*chain, *([step] if step else [])):
        sound = all(part.tail_offset <= part.size_bytes for part in layer.parts)
        if not sound or not _NAME.fullmatch(layer.layer_id):
            raise Damaged("a manifest's layer contradicts itself", kind="bad-manifest")


def check_path(path: str) -> str:
    """Give a file's path back if it stays inside its directory.

    Raises:
        Damaged: ``bad-path``.
    """
    # A TypeError for what is no text.
    if not _NO_NAMES.isdisjoint(str.split(path, "/")) or "\\" in path or "\x00" in path:
        raise Damaged(f"a file may not be called {path!r}", kind="bad-path")
    return path
