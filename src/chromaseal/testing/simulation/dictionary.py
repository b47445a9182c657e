"""ChromaDB replaced by a dictionary that lies in files, so that all else is the real code.

A directory has the records in pages of 4 KiB, each record in the page that its id decides, more
pages that never change, and a file of the ids that grows and shrinks. Merging changes pages in
place, as a database would; verifying reads everything back. Folding, digests and the multiset
hash are the product's own.
"""

from __future__ import annotations

import functools
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chromaseal import multiset
from chromaseal.compaction.fold import fold, outcome_on
from chromaseal.delta.codec import DeltaCodec
from chromaseal.digests import PAGE_SIZE_BYTES
from chromaseal.errors import Unavailable
from chromaseal.record import Record, canonical_metadata, record_digest
from chromaseal.sandbox import Limits, Plain, Progress
from chromaseal.seal.quiet import DATABASE
from chromaseal.testing.records import DIMENSION
from chromaseal.testing.simulation.chance import chance_of
from chromaseal.testing.simulation.mishaps import Mishap
from chromaseal.testing.simulation.scheduler import Scheduler

# What a directory of another program's delta has here.
FOREIGN_DELTA = "delta"
PAGES = 6
_IDS = "segment/ids.json"
# Nothing of these ever changes, so that a version weighs more than what leads to it.
_STILL_PAGES = 24
_REMEMBERED = 100_000
_REMEMBERED_PAGES = 2_000

# A record as its one text; texts are compared, kept and hashed in its place.
Row = str
Rows = dict[str, Row]


class Texts:
    """Records <-> the text that stands for each, and its digest; remembered, since they return."""

    def __init__(self) -> None:
        self._records: dict[Row, Record] = {}
        self._digests: dict[Row, bytes] = {}
        self._hashes: dict[frozenset[Row], str] = {}

    def row(self, record: Record) -> Row:
        """Give a record's text."""
        vector = [float(number) for number in record.embedding]
        metadata = canonical_metadata(record.metadata)
        row = json.dumps([record.id, vector, record.document, metadata], ensure_ascii=False)
        if len(self._records) < _REMEMBERED:
            self._records[row] = record
        return row

    def record(self, row: Row) -> Record:
        """Give the record that a text stands for."""
        found = self._records.get(row)
        if found is None:
            record_id, vector, document, metadata = json.loads(row)
            embedding = np.array(vector, dtype=np.float32)
            found = Record(record_id, embedding, document, json.loads(metadata))
            self._records[row] = found
        return found

    def digest(self, row: Row) -> bytes:
        """Give a record's digest, as the product makes it."""
        found = self._digests.get(row)
        if found is None:
            found = self._digests[row] = record_digest(self.record(row))
        return found

    def hashed(self, rows: Iterable[Row]) -> multiset.MultisetHash:
        """Give the multiset hash of records."""
        return multiset.of_digests(map(self.digest, rows))

    def hash_of(self, rows: Rows) -> str:
        """Give the multiset hash of all records of a version as text; most are asked for twice."""
        key = frozenset(rows.values())
        found = self._hashes.get(key)
        if found is None:
            found = self._hashes[key] = self.hashed(key).to_text()
        return found


def read_rows(directory: Path) -> tuple[str, Rows]:
    """Give a directory's collection and its records.

    Raises:
        ValueError: it is not what a merge leaves.
    """
    told = json.loads((directory / _IDS).read_bytes())
    with (directory / DATABASE).open("rb", buffering=0) as file:
        size_bytes, body = os.fstat(file.fileno()).st_size, file.read(PAGES * PAGE_SIZE_BYTES)
    if size_bytes != (PAGES + _STILL_PAGES) * PAGE_SIZE_BYTES:
        raise ValueError(f"{size_bytes} bytes of records")
    rows: Rows = {}
    for number in range(PAGES):
        page = body[number * PAGE_SIZE_BYTES : (number + 1) * PAGE_SIZE_BYTES]
        rows.update(_rows_of(page))
    if sorted(rows) != told["ids"]:
        raise ValueError("records and ids are not the same")
    return str(told["collection"]), rows


def write_rows(directory: Path, collection: str, rows: Rows, *, at_ns: int) -> None:
    """Let the owner of a directory change its records, as an application that opens it would.

    Args:
        directory: is made where there is none.
        collection: whose records these are.
        rows: all of them.
        at_ns: when its files say that they were written. The machine's own clock may stand still
            between two changes, which nothing could tell from one.
    """
    old = read_rows(directory)[1] if directory.exists() else None
    changed = set(rows.items() ^ old.items()) if old is not None else set()
    touched = {_page_of(record_id) for record_id, _ in changed}
    _write(directory, collection, rows, touched if old is not None else set(range(PAGES)))
    for path in (directory / _IDS, directory / DATABASE):
        os.utime(path, ns=(at_ns, at_ns))


class DictionarySandbox:
    """Answers ``merge``, ``verify``, ``verify-changes`` and ``read-delta`` in this process.

    Args:
        codec: how deltas are read.
        texts: what is known of records.
        scheduler: draws when a job is done and whether its child dies.
    """

    def __init__(self, codec: DeltaCodec, texts: Texts, scheduler: Scheduler) -> None:
        self._codec = codec
        self._texts = texts
        self._scheduler = scheduler

    def start(self) -> None:
        """Begin nothing."""

    def close(self) -> None:
        """End nothing."""

    def run(
        self,
        job: str,
        request: Mapping[str, Any],
        *,
        limits: Limits,
        progress: Progress | None = None,
    ) -> Plain:
        """Do a job, or die halfway."""
        del limits, progress
        work: Callable[[Mapping[str, Any], int], Plain]
        jobs = {
            "merge": self._merge,
            "verify": self._verify,
            "verify-changes": self._verify,
            "read-delta": _read_delta,
        }
        work = jobs[job]

        def die() -> Plain:
            work(request, PAGES // 2)
            raise Unavailable(f"the child for {job} was killed", kind="child-killed")

        def live() -> Plain:
            return work(request, PAGES)

        return self._scheduler.ask("child", job, live, {Mishap.CHILD_DIED: die})

    def _merge(self, request: Mapping[str, Any], pages: int) -> Plain:
        directory, texts = Path(request["directory"]), self._texts
        outcomes = fold(self._codec.decode(Path(path).read_bytes()) for path in request["deltas"])
        rows: Rows = read_rows(directory)[1] if directory.exists() else {}
        removed: list[Row] = []
        added: list[Row] = []
        touched: set[int] = set() if directory.exists() else set(range(PAGES))
        for record_id, outcome in outcomes.items():
            old = rows.get(record_id)
            record = outcome_on(texts.record(old) if old is not None else None, outcome)
            new = texts.row(record) if record is not None else None
            if new == old:
                continue
            touched.add(_page_of(record_id))
            removed += [old] if old is not None else []
            added += [new] if new is not None else []
            if new is None:
                rows.pop(record_id, None)
            else:
                rows[record_id] = new
        _write(directory, request["collection"], rows, {page for page in touched if page < pages})
        return {
            "removed": texts.hashed(removed).to_text(),
            "added": texts.hashed(added).to_text(),
            "difference": len(added) - len(removed),
            "changed": max(len(added), len(removed)),
            "duration_s": 0.0,
        }

    def _verify(self, request: Mapping[str, Any], pages: int) -> Plain:
        del pages
        finding = {"check": "dictionary", "passed": True, "evidence": "read", "duration_s": 0.0}
        try:
            collection, rows = read_rows(Path(request["directory"]))
        except (ValueError, OSError, KeyError) as error:
            return {
                "findings": [{**finding, "passed": False, "evidence": str(error)}],
                "collections": [],
            }
        told = {
            "name": collection,
            "count": len(rows),
            "multiset": self._texts.hash_of(rows),
            "dimension": DIMENSION,
            "space": "l2",
        }
        # The last two are asked of "verify-changes" alone.
        return {"findings": [finding], "collections": [told], "whole": "", "index_read": True}


def _read_delta(request: Mapping[str, Any], pages: int) -> Plain:
    """Read a directory that another program made for a delta: here it is the delta."""
    body = (Path(request["directory"]) / FOREIGN_DELTA).read_bytes()
    Path(request["target"]).write_bytes(body[: len(body) * pages // PAGES])
    return {"merged": False, "space": "l2", "created_at": "", "receipts": []}


@functools.lru_cache(_REMEMBERED_PAGES)
def _rows_of(page: bytes) -> Rows:
    """Read a page; most have not changed since somebody else read them."""
    rows: Rows = json.loads(page.rstrip(b"\0"))
    return rows


def _page_of(record_id: str) -> int:
    return zlib.crc32(record_id.encode()) % PAGES


def _write(directory: Path, collection: str, rows: Rows, touched: set[int]) -> None:
    (directory / _IDS).parent.mkdir(parents=True, exist_ok=True)
    file = directory / DATABASE
    if not file.exists():
        file.write_bytes(
            bytes(PAGES * PAGE_SIZE_BYTES)
            + chance_of(collection).randbytes(_STILL_PAGES * PAGE_SIZE_BYTES)
        )
    pages: list[Rows] = [{} for _ in range(PAGES)]
    for record_id in sorted(rows):
        pages[_page_of(record_id)][record_id] = rows[record_id]
    with file.open("r+b", buffering=0) as out:
        for number in sorted(touched):
            body = json.dumps(pages[number], ensure_ascii=False).encode()
            if len(body) > PAGE_SIZE_BYTES:
                raise OverflowError("a page of the simulated collection is too small")
            out.seek(number * PAGE_SIZE_BYTES)
            out.write(body.ljust(PAGE_SIZE_BYTES, b"\0"))
    told = {"collection": collection, "ids": sorted(rows)}
    (directory / _IDS).write_text(json.dumps(told))
