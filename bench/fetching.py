"""What fetching a version takes, and finding what has changed in a directory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.stats import in_ms, markdown_table, megabytes
from bench.yardstick import obstore_read_rate, unpack_rate
from chromaseal.metering import CountingStore
from chromaseal.seal.compare import compared_digests
from chromaseal.seal.page_table import NO_PAGES
from chromaseal.seal.sealed import seal
from chromaseal.snapshot.layer_objects import LayerReader
from chromaseal.testing.servers import S3Server
from chromaseal.vault import Vault

NAME = "words"
REPETITIONS = 5
CACHE = "row-cache"
_READ_BYTES = 1 << 20


def fetch_table(vault: Vault, store: CountingStore, server: S3Server, folder: Path) -> str:
    """Measure one step and the cold fetch, beside what obstore alone reads.

    Args:
        vault: keeps what it knows in ``CACHE`` below the folder.
        store: what the vault stores in; counts.
        server: the same.
        folder: for what is unpacked.
    """
    cache = folder / CACHE
    steps = [_one_step(vault, store, cache, number) for number in range(1, REPETITIONS + 1)]
    newest = vault.version(NAME)
    cold = []
    for _ in range(REPETITIONS):
        shutil.rmtree(cache)
        cold.append(_timed(lambda: vault.parts.checkouts.bring(newest)))
    taken_s = median(cold)
    fetched_bytes, made_bytes = newest.manifest.chain_bytes, newest.manifest.size_bytes
    with LayerReader(store, NAME) as reader:
        layers = reader.open(newest.manifest.layers)
    unpacked = unpack_rate(store, layers, folder / "unpacked", repetitions=REPETITIONS)
    alone = obstore_read_rate(server, fetched_bytes, repetitions=REPETITIONS)
    as_many = obstore_read_rate(server, made_bytes, repetitions=REPETITIONS)
    rate, made_rate = fetched_bytes / taken_s, made_bytes / taken_s
    rows = [
        ["one step, median", in_ms(median(step[0] for step in steps))],
        ["one step, most", f"{max(step[1] for step in steps) / 1e6:.2f} MB"],
        [
            "cold fetch",
            f"{megabytes(fetched_bytes)} MB become {megabytes(made_bytes)} MB in {taken_s:.2f} s",
        ],
        ["obstore alone, the bytes that travel", f"{alone / 1e6:,.0f} MB/s"],
        ["cold fetch / that, by bytes that travel", f"{rate / alone:.2f}"],
        ["obstore alone, as many bytes as the directory has", f"{as_many / 1e6:,.0f} MB/s"],
        ["cold fetch / that, by bytes of the directory", f"{made_rate / as_many:.2f}"],
        ["fetched, unpacked, written, no digest / obstore alone", f"{unpacked / alone:.2f}"],
        ["cold fetch / fetched, unpacked, written, no digest", f"{rate / unpacked:.2f}"],
    ]
    return markdown_table(["what", "how much"], rows)


def _one_step(vault: Vault, store: CountingStore, cache: Path, back: int) -> tuple[float, int]:
    """Bring what is kept from one version to the next; give seconds and bytes."""
    number = vault.version(NAME).manifest.number - back
    shutil.rmtree(cache)
    vault.parts.checkouts.bring(vault.version(NAME, str(number)))
    before, start = store.usage, time.perf_counter()
    vault.parts.checkouts.bring(vault.version(NAME, str(number + 1)))
    return time.perf_counter() - start, store.usage.since(before).bytes_out


def changed_pages_table(vault: Vault, directory: Path) -> str:
    """Measure how fast changed pages are found, beside reading the same files.

    Args:
        vault: has an earlier version of the directory.
        directory: whose files are all compared, whatever their times say.
    """
    parts = vault.parts
    newest = vault.version(NAME)
    known = parts.checkouts.bring(newest).known({}, 0)

    def find() -> None:
        for path, table in known.tables.items():
            earlier, stale = known.directory / path, known.stale.get(path, NO_PAGES)
            compared_digests(directory / path, earlier, table, stale=stale)

    def prove() -> None:
        seal(directory, open_files=parts.open_files, clock=parts.clock, known=known)

    size_bytes = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    found_s = median(_timed(find) for _ in range(REPETITIONS))
    sealed_s = median(_timed(prove) for _ in range(REPETITIONS))
    read_s = median(_timed(lambda: _read(directory)) for _ in range(REPETITIONS))
    rows = [
        ["the directory, in the machine's memory", f"{megabytes(size_bytes)} MB"],
        ["reading it", in_ms(read_s)],
        ["finding its changed pages", in_ms(found_s)],
        ["finding / reading, by speed", f"{read_s / found_s:.2f}"],
        ["sealing it: that, and proof that nobody has it open", in_ms(sealed_s)],
    ]
    return markdown_table(["what", "how much"], rows)


def _read(directory: Path) -> None:
    block = bytearray(_READ_BYTES)
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.readinto(block):
                    pass


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
