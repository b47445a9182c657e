"""Every key of the existing pipeline's bucket is built and read here.

::

    <collection>/snapshot/latest-pointer.txt                      the newest snapshot's id
    <collection>/snapshot/timestamped/<snapshot id>/<path>        a ChromaDB directory, file by file
    <collection>/snapshot/timestamped/<snapshot id>/snapshot.tar.gz   or as one archive
    <collection>/snapshot/timestamped/<snapshot id>/.snapshot_hash    says something of it, or not
    <collection>/delta/<run id>/delta.tar.gz                      one run's records, as an archive
    <collection>/delta/<run id>/<32 hex digits>/<path>            or file by file
    <collection>/delta/<32 hex digits>/<path>                     the same, by a batch

``docs/formats/legacy.md`` is what this module is held to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

from chromaseal.errors import Damaged
from chromaseal.keys import check_collection

SNAPSHOT_ARCHIVE = "snapshot.tar.gz"
DELTA_ARCHIVE = "delta.tar.gz"
HASH = ".snapshot_hash"
# What readers and the pipeline's shared file system have left in directories beside ChromaDB's.
NO_CONTENT = frozenset({HASH, ".version", SNAPSHOT_ARCHIVE})
_ID = r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
_SNAPSHOT_ID = re.compile(_ID)
_SNAPSHOT = re.compile(r"(?P<collection>[^/]+)/snapshot/timestamped/(?P<snapshot_id>[^/]+)/.+")
_DELTA = re.compile(
    rf"(?P<prefix>(?P<collection>[^/]+)/delta/(?P<run_id>{_ID})/"
    r"(?:(?P<upload>[0-9a-f]{32})/)?)(?P<path>.+)"
)
_IDS_OF_BATCHES = re.compile(r"[0-9a-f]{32}")
_NAME_BYTES = 255
# What the key of an object may have; below a private directory it is a path still.
_PATH_BYTES = 1024


class DeltaPlace(NamedTuple):
    """Where one delta is."""

    collection: str
    run_id: str
    prefix: str


def pointer(collection: str) -> str:
    """Key of a collection's pointer."""
    return f"{check_collection(collection)}/snapshot/latest-pointer.txt"


def snapshots(collection: str) -> str:
    """Prefix of a collection's snapshots."""
    return f"{check_collection(collection)}/snapshot/timestamped/"


def snapshot(collection: str, snapshot_id: str) -> str:
    """Prefix of one snapshot."""
    return f"{snapshots(collection)}{check_snapshot_id(snapshot_id)}/"


def deltas(collection: str) -> str:
    """Prefix of a collection's deltas."""
    return f"{check_collection(collection)}/delta/"


def check_snapshot_id(text: str) -> str:
    """Give a snapshot's id back if it can be part of a key.

    Raises:
        Damaged: ``bad-snapshot-id``.
    """
    if _SNAPSHOT_ID.fullmatch(text):
        return text
    raise Damaged(
        f"{text[:80]!r} is no id of a snapshot",
        kind="bad-snapshot-id",
        hint="name one that is there with --at",
    )


def snapshot_id_of(key: str) -> str | None:
    """Give the snapshot that a key belongs to; None for any other key."""
    found = _SNAPSHOT.fullmatch(key)
    return found["snapshot_id"] if found else None


def delta_of(key: str) -> DeltaPlace | None:
    """Give the delta that a key belongs to; None for any other key."""
    found = _DELTA.fullmatch(key)
    if found is None:
        return None
    if found["upload"] is None and not _is_of_delta(found):
        return None
    return DeltaPlace(found["collection"], found["run_id"], found["prefix"])


def _is_of_delta(found: re.Match[str]) -> bool:
    # Right below a run's id there is an archive; right below a batch's, ChromaDB's own files.
    is_batch = _IDS_OF_BATCHES.fullmatch(found["run_id"]) is not None
    return is_batch or found["path"] == DELTA_ARCHIVE


def relative_prefix(prefix: str, url: str) -> str:
    """Give a delta's prefix, as a run names it, relative to the bucket that is at a URL.

    Args:
        prefix: ``s3://bucket/lines/delta/x/``, or without scheme and bucket.
        url: the bucket's.

    Raises:
        Damaged: ``bad-path``; it is in another bucket, or leads out of this one.
    """
    own = urlsplit(url)
    try:
        named, path = urlsplit(prefix), prefix
    except ValueError as error:
        raise Damaged(f"{prefix!r} is no prefix of a delta", kind="bad-path") from error
    if named.scheme:
        path = named.path
        if (named.scheme, named.netloc) != (own.scheme, own.netloc):
            raise Damaged(f"the delta {prefix} is not in {url}", kind="bad-path")
        above = f"/{own.path.strip('/')}/".replace("//", "/")
        if not path.startswith(above):
            raise Damaged(f"the delta {prefix} is not in {url}", kind="bad-path")
        path = path.removeprefix(above)
    path = path.strip("/")
    if not path or {"", ".", ".."} & set(path.split("/")):
        raise Damaged(f"{prefix!r} is no prefix of a delta", kind="bad-path")
    return f"{path}/"


def is_content(path: str) -> bool:
    """Tell whether a file of a snapshot or delta is ChromaDB's, and not the pipeline's own."""
    return path not in NO_CONTENT


def inside(name: str) -> str | None:
    """Give a member's path as it is inside its directory; None for the directory itself.

    Raises:
        Damaged: ``bad-path``; it is absolute, leads out, or has a part that no file can have.
    """
    path = PurePosixPath(name)
    parts: Iterable[str] = [part for part in path.parts if part != "."]
    is_long = len(name.encode(errors="surrogateescape")) > _PATH_BYTES or any(
        len(part.encode(errors="surrogateescape")) > _NAME_BYTES for part in parts
    )
    if path.is_absolute() or ".." in parts or "\\" in name or "\x00" in name or is_long:
        raise Damaged(f"a file may not be called {name!r}", kind="bad-path")
    return "/".join(parts) or None
