"""The existing pipeline's programs, as their rules say: who writes its bucket, and who reads it.

They do what those do, defects included: writers replace the pointer without a condition, readers
believe what they find. Nothing of chromaseal's own handling of the layout is used here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chromaseal.adapters.chroma.client import opened
from chromaseal.errors import Conflict, NotFound
from chromaseal.object_store import ObjectStore
from chromaseal.record import Record

LINES, WORDS = "lines", "words"


@dataclass(frozen=True, slots=True)
class OldBucket:
    """A bucket that is written to without conditions, as the pipeline's programs do."""

    store: ObjectStore

    def put(self, key: str, body: bytes) -> None:
        """Write an object, whatever is there."""
        try:
            self.store.create(key, body)
        except Conflict:
            self.store.replace(key, body, etag=self.store.get(key).etag)

    def all(self) -> dict[str, bytes]:
        """Give everything that is there."""
        return {info.key: self.store.get(info.key).body for info in self.store.list("")}


def make_directory(directory: Path, name: str, records: Sequence[Record]) -> Path:
    """Make a ChromaDB directory with one collection, as the pipeline's programs do."""
    with opened(directory) as client:
        described = {"description": f"Collection: {name}"}
        # The default embedding function is named, and never called.
        collection = client.get_or_create_collection(name, metadata=described)
        metadatas: Any = [dict(each.metadata) for each in records]
        if records:
            collection.upsert(
                ids=[each.id for each in records],
                embeddings=np.stack([each.embedding for each in records]),
                documents=[each.document or "" for each in records],
                metadatas=metadatas,
            )
    return directory


class OldWriter:
    """A compactor and producers of the existing pipeline.

    Args:
        bucket: where they write.
    """

    def __init__(self, bucket: OldBucket) -> None:
        self._bucket = bucket

    def snapshot(
        self, collection: str, snapshot_id: str, directory: Path, *, compressed: bool
    ) -> None:
        """Write a snapshot, its hash, and the pointer, in this order."""
        prefix = f"{collection}/snapshot/timestamped/{snapshot_id}"
        if compressed:
            body = packed(directory)
            self._bucket.put(f"{prefix}/snapshot.tar.gz", body)
            digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        else:
            digest = self._files(prefix, directory)
        self._bucket.put(f"{prefix}/.snapshot_hash", f"md5:{digest}".encode())
        self._bucket.put(f"{collection}/snapshot/latest-pointer.txt", snapshot_id.encode())

    def delta(self, collection: str, run_id: str, directory: Path, *, upload: str = "") -> str:
        """Write a delta, as an archive or, below ``upload``, file by file; give its prefix."""
        prefix = f"{collection}/delta/{run_id}"
        if not upload:
            self._bucket.put(f"{prefix}/delta.tar.gz", packed(directory))
            return f"{prefix}/"
        self._files(f"{prefix}/{upload}", directory)
        return f"{prefix}/{upload}/"

    def _files(self, prefix: str, directory: Path) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        for path in directory.rglob("*"):
            if path.is_file():
                name, stat = path.relative_to(directory), path.stat()
                digest.update(f"{name}:{stat.st_size}:{stat.st_mtime}".encode())
                self._bucket.put(f"{prefix}/{name}", path.read_bytes())
        return digest.hexdigest()


def packed(directory: Path) -> bytes:
    """Pack a directory as the pipeline does: members are called from ``.`` on."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.add(directory, arcname=".")
    return out.getvalue()


class OldReader:
    """A reader of the existing pipeline.

    Args:
        bucket: what it reads.
        knows_archives: whether it is one of the newest, which ask for an archive first; earlier
            ones take all files that there are.
    """

    def __init__(self, bucket: OldBucket, *, knows_archives: bool) -> None:
        self._bucket = bucket
        self._knows_archives = knows_archives

    def snapshot_id(self, collection: str) -> str | None:
        """Give what the pointer says; without one it would make an empty snapshot."""
        try:
            body = self._bucket.store.get(f"{collection}/snapshot/latest-pointer.txt").body
        except NotFound:
            return None
        return body.decode("utf-8").strip()

    def download(self, collection: str, target: Path) -> Path:
        """Bring the newest snapshot to a directory, and believe it.

        Raises:
            NotFound: there is none.
        """
        prefix = f"{collection}/snapshot/timestamped/{self.snapshot_id(collection)}/"
        target.mkdir(parents=True)
        archive = f"{prefix}snapshot.tar.gz"
        if self._knows_archives and self._bucket.store.head(archive) is not None:
            return _unpacked(self._bucket.store.get(archive).body, target)
        files = 0
        for info in self._bucket.store.list(prefix):
            path = target / info.key[len(prefix) :]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._bucket.store.get(info.key).body)
            files += 1
        if not files:
            raise NotFound(f"No objects found at {prefix}", kind="no-object")
        return target

    def records(self, collection: str, target: Path) -> dict[str, dict[str, Any]]:
        """Open the newest snapshot with a stock client; give document and metadata by id."""
        with opened(self.download(collection, target)) as client:
            found = client.get_collection(collection).get(include=["documents", "metadatas"])
        columns = zip(found["ids"], found["documents"] or (), found["metadatas"] or (), strict=True)
        return {i: {"document": text, **(values or {})} for i, text, values in columns}


def _unpacked(body: bytes, target: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(body))) as archive:
        for member in archive.getmembers():
            # Members that lead outside are dropped, without a word.
            if not os.path.isabs(member.name) and ".." not in member.name.split("/"):  # noqa: PTH117
                archive.extract(member, target, filter="data")
    return target


def run_item(
    run_id: str,
    image_id: str,
    prefixes: Mapping[str, str],
    *,
    created_at: str,
    states: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make the COMPACTION_RUN that a producer puts into the table."""
    item: dict[str, Any] = {
        "PK": f"IMAGE#{image_id}",
        "SK": f"RECEIPT#00001#COMPACTION_RUN#{run_id}",
        "TYPE": "COMPACTION_RUN",
        "GSI1PK": "RUNS",
        "GSI1SK": f"CREATED_AT#{created_at}",
        "run_id": run_id,
        "image_id": image_id,
        "receipt_id": 1,
        "created_at": created_at,
        "updated_at": None,
    }
    for name in (LINES, WORDS):
        item[f"{name}_delta_prefix"] = prefixes[name]
        item[f"{name}_state"] = (states or {}).get(name, "PENDING")
        item |= {f"{name}_{field}": None for field in ("started_at", "finished_at", "error")}
        item[f"{name}_merged_vectors"] = 0
    return item
