"""How fast obstore alone reads from a server: the yardstick of a cold fetch."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import NamedTuple

import obstore
from obstore.store import S3Store

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
