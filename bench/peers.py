"""The peers: a changed directory -> an object store, the way that others do it.

A peer is prepared with a directory once, then publishes the same directory again each time it
has changed. ``Metered`` times and counts any of them, chromaseal included.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.data import files_of
from bench.meter import Meter
from chromaseal.testing.servers import S3Server


@dataclass(frozen=True, slots=True)
class Step:
    """What publishing a changed directory took.

    Attributes:
        duration_s: wall time, from the call or the program's start to its end.
        bytes_up: sent to the object store, heads of requests included.
        bytes_down: received from it.
        requests: that the store answered.
    """

    duration_s: float
    bytes_up: int
    bytes_down: int
    requests: int


class Peer(Protocol):
    """A way to keep the newest state of a directory in an object store."""

    @property
    def name(self) -> str:
        """Name it as tables do."""
        ...

    @property
    def version(self) -> str:
        """Name the program or library that does it, with its version."""
        ...

    def prepare(self, directory: Path) -> None:
        """Store the directory for the first time."""
        ...

    def publish(self, directory: Path) -> None:
        """Store the directory again, after it has changed."""
        ...


class Metered:
    """A peer behind a meter.

    Args:
        peer: speaks to ``meter.server`` and to nothing else.
        meter: nobody else may use it at the same time.
    """

    def __init__(self, peer: Peer, meter: Meter) -> None:
        self.peer = peer
        self._meter = meter

    def prepare(self, directory: Path) -> Step:
        """Store the directory for the first time."""
        return self._measured(directory, first=True)

    def step(self, directory: Path) -> Step:
        """Store the directory again, after it has changed."""
        return self._measured(directory, first=False)

    def _measured(self, directory: Path, *, first: bool) -> Step:
        before = self._meter.read()
        start = time.perf_counter()
        (self.peer.prepare if first else self.peer.publish)(directory)
        duration_s = time.perf_counter() - start
        traffic = self._meter.read() - before
        return Step(duration_s, traffic.bytes_up, traffic.bytes_down, traffic.requests)


class WholeCopy:
    """The old pipeline's way: everything down, everything up, file after file, with boto3.

    Its calls are those of the pipeline's own code: ``list_objects_v2``, ``download_file`` and
    ``upload_file`` with their defaults, a hash over names, sizes and times, the pointer last.
    Merging lies between the two halves and is in nobody's figures.

    Args:
        server: where to.
        scratch: an empty folder, for the copy that comes down.
    """

    name = "old pipeline (whole directory, boto3)"

    def __init__(self, server: S3Server, scratch: Path) -> None:
        self._bucket = server.bucket
        self._client = _boto3_client(server)
        self._scratch = scratch
        self._published = 0

    @property
    def version(self) -> str:
        """Name boto3."""
        return _boto3_version()

    def prepare(self, directory: Path) -> None:
        """Upload the directory as the first version."""
        self._upload(directory)

    def publish(self, directory: Path) -> None:
        """Download the version before, upload the directory as the next one."""
        pointer = self._client.get_object(Bucket=self._bucket, Key=f"{_OLD}/latest-pointer.txt")
        prefix = f"{_OLD}/timestamped/{pointer['Body'].read().decode()}/"
        for key in _listed(self._client, self._bucket, prefix):
            target = self._scratch / key.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._client.download_file(self._bucket, key, str(target))
        self._upload(directory)

    def _upload(self, directory: Path) -> None:
        self._published += 1
        version = f"20260101_{self._published:06d}"
        for path in files_of(directory):
            key = f"{_OLD}/timestamped/{version}/{path.relative_to(directory).as_posix()}"
            self._client.upload_file(str(path), self._bucket, key)
        self._put(f"{_OLD}/timestamped/{version}/.snapshot_hash", _old_hash(directory))
        self._put(f"{_OLD}/latest-pointer.txt", version.encode())

    def _put(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=body)


class SyncLike:
    """What ``aws s3 sync`` does: compare size and time, upload the files that differ, whole.

    In this process and with boto3, so that it does not pay for the start of a program.

    Args:
        server: where to.
    """

    name = "aws s3 sync-like (boto3)"

    def __init__(self, server: S3Server) -> None:
        self._bucket = server.bucket
        self._client = _boto3_client(server)

    @property
    def version(self) -> str:
        """Name boto3."""
        return _boto3_version()

    def prepare(self, directory: Path) -> None:
        """Upload all files."""
        self.publish(directory)

    def publish(self, directory: Path) -> None:
        """Upload the files whose size differs or that are newer than their object."""
        stored = _listed(self._client, self._bucket, f"{_SYNC}/")
        for path in files_of(directory):
            key = f"{_SYNC}/{path.relative_to(directory).as_posix()}"
            status = path.stat()
            found = stored.pop(key, None)
            if (
                found is None
                or found["Size"] != status.st_size
                or found["LastModified"].timestamp() < status.st_mtime
            ):
                self._client.upload_file(str(path), self._bucket, key)
        for key in stored:
            self._client.delete_object(Bucket=self._bucket, Key=key)


class Restic:
    """``restic backup``: chunks cut by content, each stored once, compressed and encrypted.

    Args:
        server: where to.
        cache: an empty folder, for restic's cache of its index.
    """

    name = "restic backup"

    def __init__(self, server: S3Server, cache: Path) -> None:
        self._environment = {
            **_clean_environment(),
            **server.environment(),
            "RESTIC_REPOSITORY": f"s3:{server.endpoint}/{server.bucket}/{_RESTIC}",
            "RESTIC_PASSWORD": "bench",
            "RESTIC_CACHE_DIR": str(cache),
        }

    @property
    def version(self) -> str:
        """Name restic."""
        return _first_line("restic", "version").split(" compiled")[0]

    def prepare(self, directory: Path) -> None:
        """Make the repository and the first backup in it."""
        self._run("init")
        self.publish(directory)

    def publish(self, directory: Path) -> None:
        """Back up once more."""
        # What restic 0.14 says that it added is from before compression, about three times what
        # it sends; the meter tells.
        self._run("backup", str(directory), "--json", "--host", "bench")

    def _run(self, *arguments: str) -> None:
        _run(["restic", *arguments], self._environment)


class Rclone:
    """``rclone sync``: files whose size or time differs, whole.

    Args:
        server: where to.
    """

    name = "rclone sync"

    def __init__(self, server: S3Server) -> None:
        self._environment = {
            **_clean_environment(),
            "RCLONE_CONFIG": "",
            "RCLONE_CONFIG_BENCH_TYPE": "s3",
            "RCLONE_CONFIG_BENCH_PROVIDER": "Other",
            "RCLONE_CONFIG_BENCH_ENDPOINT": server.endpoint,
            "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": server.access_key,
            "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": server.secret_key,
        }
        self._target = f"bench:{server.bucket}/{_RCLONE}"

    @property
    def version(self) -> str:
        """Name rclone."""
        return _first_line("rclone", "version")

    def prepare(self, directory: Path) -> None:
        """Copy all files."""
        self.publish(directory)

    def publish(self, directory: Path) -> None:
        """Copy the files that differ."""
        command = ["rclone", "sync", str(directory), self._target, "--s3-no-check-bucket"]
        _run(command, self._environment)


def all_peers(server: S3Server, folder: Path) -> list[Peer]:
    """Make every peer.

    Args:
        server: where to; the meter's, if they are to be measured.
        folder: for what they keep on this machine.
    """
    return [
        WholeCopy(server, folder / "downloaded"),
        SyncLike(server),
        Restic(server, folder / "restic-cache"),
        Rclone(server),
    ]


_OLD, _SYNC, _RESTIC, _RCLONE = "peer-old/snapshot", "peer-sync", "peer-restic", "peer-rclone"


def _clean_environment() -> dict[str, str]:
    """Leave out how whoever runs this has set up the same programs."""
    ours = ("AWS_", "RESTIC_", "RCLONE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _old_hash(directory: Path) -> bytes:
    told = ((p.relative_to(directory), p.stat()) for p in files_of(directory))
    text = "".join(f"{name}:{status.st_size}:{status.st_mtime}" for name, status in told)
    return f"md5:{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}".encode()


def _boto3_client(server: S3Server) -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
    # By name: boto3 has no types, and whether that is to be excused is for pyproject.toml.
    boto3 = importlib.import_module("boto3")
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
    )


def _boto3_version() -> str:
    return f"boto3 {importlib.import_module('boto3').__version__}"


def _listed(client: Any, bucket: str, prefix: str) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    pages: Iterable[dict[str, Any]] = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix
    )
    return {each["Key"]: each for page in pages for each in page.get("Contents", ())}


def _first_line(*command: str) -> str:
    return _run(list(command), dict(os.environ)).splitlines()[0]


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr or done.stdout}")
    return done.stdout
