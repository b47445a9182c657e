"""The yardsticks of a cold fetch: obstore alone, and what the format asks for without any check."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

import obstore
import zstandard
from obstore.store import S3Store

from chromaseal.digests import PAGE_SIZE_BYTES, blake3_hex
from chromaseal.object_store import ObjectStore
from chromaseal.snapshot.layer_objects import OpenLayer, OpenPart
from chromaseal.testing.servers import S3Server

RANGE_BYTES = 8 << 20
READS_AT_ONCE = 8
_OBJECT_BYTES = 256 << 20
_PREFIX = "yardstick"


class _Range(NamedTuple):
    key: str
    start: int
    length: int


def obstore_read_rate(server: S3Server, size_bytes: int, *, repetitions: int = 5) -> float:
    """Measure how fast obstore reads objects in ranges of 8 MiB, eight at once.

    The objects hold random bytes, are written first, and removed in the end. Each repetition
    reads all of them through a client of its own, as a fetch in a new process does; what comes
    is dropped.

    Args:
        server: where.
        size_bytes: of all objects together.
        repetitions: how often.

    Returns:
        Bytes per second, the median.
    """
    store = _opened(server)
    keys = _write(store, size_bytes)
    try:
        durations_s = [_read(_opened(server), keys) for _ in range(repetitions)]
    finally:
        for key in keys:
            obstore.delete(store, key)
    return size_bytes / median(durations_s)


def unpack_rate(
    store: ObjectStore, layers: Sequence[OpenLayer], folder: Path, *, repetitions: int = 5
) -> float:
    """Measure how fast layers are fetched, unpacked and written, and nothing else.

    No digest is worked out, no difference applied, and no order kept, so nothing that makes a
    directory of the layers can be faster on this machine.

    Args:
        store: where they are.
        layers: with the places of their frames.
        folder: to write to; removed in the end.
        repetitions: how often.

    Returns:
        Bytes fetched per second, the median.
    """
    parts = [part for layer in layers for part in layer.parts]
    try:
        durations_s = [_unpack(store, parts, folder) for _ in range(repetitions)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return sum(part.entry.tail_offset for part in parts) / median(durations_s)


def _unpack(store: ObjectStore, parts: Sequence[OpenPart], folder: Path) -> float:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    paths = {frame.path for part in parts for frame in part.frames}
    with ExitStack() as held:
        files = {
            path: held.enter_context((folder / blake3_hex(path.encode())).open("wb"))
            for path in paths
        }

        def work(part: OpenPart, first: int) -> None:
            end = min(first + RANGE_BYTES, part.entry.tail_offset)
            # Frames that begin in the range; the last one may end after it.
            frames = [frame for frame in part.frames if first <= frame.offset < end]
            if not frames:
                return
            start, length = frames[0].offset, frames[-1].end - frames[0].offset
            body = memoryview(store.get_range(part.key, start=start, length=length))
            for frame in frames:
                content = zstandard.ZstdDecompressor().decompress(
                    body[frame.offset - start : frame.end - start]
                )
                os.pwrite(
                    files[frame.path].fileno(), content, int(frame.pages[0]) * PAGE_SIZE_BYTES
                )

        start_s = time.perf_counter()
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            ranges = [(p, at) for p in parts for at in range(0, p.entry.tail_offset, RANGE_BYTES)]
            for _ in pool.map(lambda each: work(*each), ranges):
                pass
        return time.perf_counter() - start_s


def _opened(server: S3Server) -> S3Store:
    return S3Store(
        server.bucket,
        prefix=_PREFIX,
        endpoint=server.endpoint,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        region="us-east-1",
        client_options={"allow_http": True},
    )


def _write(store: S3Store, size_bytes: int) -> dict[str, int]:
    sizes = {}
    for number, start in enumerate(range(0, size_bytes, _OBJECT_BYTES)):
        key = f"object-{number}"
        sizes[key] = min(_OBJECT_BYTES, size_bytes - start)
        obstore.put(store, key, secrets.token_bytes(sizes[key]), use_multipart=False)
    return sizes


def _read(store: S3Store, sizes: dict[str, int]) -> float:
    def fetch(part: _Range) -> int:
        found = obstore.get_range(store, part.key, start=part.start, length=part.length)
        return len(found)

    start = time.perf_counter()
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        read = sum(pool.map(fetch, _ranges(sizes)))
    duration_s = time.perf_counter() - start
    if read != sum(sizes.values()):
        raise RuntimeError(f"{read} bytes came of {sum(sizes.values())}")
    return duration_s


def _ranges(sizes: dict[str, int]) -> Iterator[_Range]:
    for key, size in sizes.items():
        for start in range(0, size, RANGE_BYTES):
            yield _Range(key, start, min(RANGE_BYTES, size - start))
