"""The pipeline of the incident, step by step: the whole archive down and up, the whole copied.

What it did per compaction: fetch and unpack the archive of the newest snapshot, merge, pack and
upload all of it, its digest and the pointer, copy the directory to EFS, keep the newest three
copies. The merge is the one that chromaseal uses, in a child that is warm.

``python -m bench.costs.old_way ENDPOINT COLLECTION FOLDER`` takes the directory ``first`` in the
folder for the newest snapshot, and answers every line, a number of records, with what it took.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import boto3

from bench.costs.function import processor_s
from bench.data import DeltaWriter, size_bytes
from chromaseal.digests import blake3_hex
from chromaseal.testing.dynamodb import REGION

BUCKET = "old"
FIRST = "first"
_ARCHIVE = "snapshot.tar.gz"
_KEPT_ARCHIVES = 4
_KEPT_COPIES = 3
# Of its source: pointer and archive, the pointer again before it moves; archive, digest and
# pointer; what is too old, by a listing, which is an archive and its digest.
_REQUESTS = {"s3_get": 3, "s3_put": 3, "s3_list": 1, "s3_delete": 2}
# The lock is taken, kept once, and released; it is read before the merge and before the pointer.
_TABLE = {"dynamodb_requests": 5, "write_units": 3, "read_units": 2}


class OldWay:
    """A collection as that pipeline kept it.

    Args:
        client: of S3.
        collection: which.
        folder: with its newest snapshot, in ``first``.
        writer: merges into it.
    """

    def __init__(self, client: Any, collection: str, folder: Path, writer: DeltaWriter) -> None:  # noqa: ANN401 - boto3 has no types
        self._client = client
        self._prefix = f"{collection}/snapshot"
        self._folder = folder
        self._mount = folder / "efs"
        self._mount.mkdir()
        self._writer = writer
        self._number = 0
        self._next = 10_000_000
        self._upload(self._pack(folder / FIRST))
        shutil.rmtree(folder / FIRST)

    def compact(self, records: int) -> dict[str, float]:
        """Merge that many new records; give what it took."""
        before_s = processor_s()
        work = self._folder / "work"
        down = self._download(work)
        self._writer.add(work, self._next, records)
        self._next += records
        self._number += 1
        up = self._upload(self._pack(work))
        shutil.copytree(work, self._mount / str(self._number))
        taken_s, written = processor_s() - before_s, size_bytes(work)
        shutil.rmtree(work)
        for old in sorted(self._mount.iterdir(), key=lambda each: int(each.name))[:-_KEPT_COPIES]:
            shutil.rmtree(old)
        return {
            **_REQUESTS,
            **_TABLE,
            "processor_s": taken_s,
            "s3_bytes_down": down,
            "s3_bytes_up": up,
            "efs_written_bytes": written,
            "stored_bytes": up * _KEPT_ARCHIVES,
            "mount_bytes": written * _KEPT_COPIES,
        }

    def _download(self, work: Path) -> int:
        archive = self._folder / _ARCHIVE
        key = f"{self._prefix}/timestamped/{self._number}/{_ARCHIVE}"
        self._client.download_file(BUCKET, key, str(archive))
        with tarfile.open(archive, "r:gz") as packed:
            packed.extractall(work, filter="data")
        return archive.stat().st_size

    def _pack(self, directory: Path) -> Path:
        archive = self._folder / _ARCHIVE
        with tarfile.open(archive, "w:gz") as packed:
            packed.add(directory, arcname=".")
        return archive

    def _upload(self, archive: Path) -> int:
        prefix = f"{self._prefix}/timestamped/{self._number}"
        self._client.upload_file(str(archive), BUCKET, f"{prefix}/{_ARCHIVE}")
        digest = blake3_hex(archive.read_bytes())
        self._client.put_object(Bucket=BUCKET, Key=f"{prefix}/.snapshot_hash", Body=digest)
        key = f"{self._prefix}/latest-pointer.txt"
        self._client.put_object(Bucket=BUCKET, Key=key, Body=str(self._number))
        return archive.stat().st_size


def main() -> None:
    """Compact until standard input ends."""
    endpoint, collection, folder = sys.argv[1:]
    client = boto3.client("s3", endpoint_url=endpoint, region_name=REGION)
    client.create_bucket(Bucket=BUCKET)
    with DeltaWriter(collection) as writer:
        way = OldWay(client, collection, Path(folder), writer)
        for line in sys.stdin:
            print(json.dumps(way.compact(int(line))), flush=True)


if __name__ == "__main__":
    main()
