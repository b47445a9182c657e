"""The job "verify-changes": a sealed directory and the pages that changed -> findings, as "verify".

The directory was whole in an earlier state. SQLite's quick check runs over all of it; every record
that any changed page concerns is looked at as closely as "verify" looks at all of them. Where the
changed pages do not say what changed, the answer asks for the whole look.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import numpy as np

from chromaseal import multiset
from chromaseal.adapters.chroma.btree import PageNumbers, Pages, ReadPage, header_of
from chromaseal.adapters.chroma.changed_records import (
    ChangedRecords,
    CollectionChange,
    ValuesByRow,
)
from chromaseal.adapters.chroma.database import CollectionRow, Database
from chromaseal.adapters.chroma.row_changes import CannotTellError, RowChanges, row_changes
from chromaseal.adapters.chroma.soundness import (
    check_full_text,
    check_full_text_in_place,
    check_structure,
    look_at_rows,
)
from chromaseal.digests import PAGE_SIZE_BYTES
from chromaseal.record import Record, record_digest
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.checks import check_deep, check_log, check_vectors
from chromaseal.seal.quiet import DATABASE
from chromaseal.seal.verdict import Finding

# What records consist of, and what every opening leaves behind; "data" is the full-text index.
_OF_RECORDS: Final = frozenset(
    {
        "acquire_write",
        "embedding_fulltext_search_content",
        "embedding_fulltext_search_data",
        "embedding_fulltext_search_docsize",
        "embedding_metadata",
        "embedding_metadata_array",
        "embeddings",
        "embeddings_queue",
        "max_seq_id",
    }
)


def run(request: Plain, progress: Progress) -> Plain:
    """Check what changed in a directory.

    Args:
        request: ``directory``; ``merged_here``, whether it is a copy of our own that only a
            merge of ours has changed: then SQLite does not compare its indexes with their tables,
            and the full-text index checks itself without a copy; ``scratch``, for copies;
            ``changed``, the numbers from 0 of the
            database's pages that are not as they were; ``before``, a file with these pages as
            they were, zeros for those that there were not; ``collections``, as "verify"
            answered for the earlier state.
        progress: not used; what changed is looked at in a second.

    Returns:
        As "verify", and ``index_read``, whether vectors were looked up in the index; or ``whole``,
        why all of it has to be looked at.
    """
    del progress
    directory = Path(request["directory"])
    try:
        with ThreadPoolExecutor(2) as pool, Database(directory) as database:
            # SQLite checks itself without the interpreter's lock, so all else goes on meanwhile.
            checking = _Checking.begin(directory, request, pool)
            changes = _row_changes(directory, request)
            _refuse_others(database, changes)
            return _found(ChangedRecords(directory, database, changes), request, checking)
    except CannotTellError as error:
        return {"whole": str(error)}


@dataclass(frozen=True, slots=True)
class _Checking:
    """What SQLite finds out about all of a database, in threads of its own.

    Attributes:
        structure: what it says of its structure, and how long it took.
        full_text: what the full-text index says of itself.
    """

    structure: Future[tuple[tuple[str, ...], float]]
    full_text: Future[Plain]

    @classmethod
    def begin(cls, directory: Path, request: Plain, pool: ThreadPoolExecutor) -> Self:
        """Begin both."""
        return cls(
            pool.submit(_structure, directory, thorough=not request["merged_here"]),
            pool.submit(_full_text, directory, request),
        )


def _found(records: ChangedRecords, request: Plain, checking: _Checking) -> Plain:
    look = _Look(records, {each["name"]: each for each in request["collections"]})
    findings = [*look.findings()]
    summaries = look.summaries()
    findings += [*_checked(records, checking.structure), checking.full_text.result()]
    sound = all(finding["passed"] for finding in findings)
    return {
        "findings": findings,
        "collections": summaries if sound else [],
        "index_read": look.index_read,
    }


def _row_changes(directory: Path, request: Plain) -> dict[str, RowChanges]:
    changed: PageNumbers = np.array(request["changed"], dtype=np.int64) + 1
    with (
        (directory / DATABASE).open("rb", buffering=0) as database,
        Path(request["before"]).open("rb", buffering=0) as earlier,
    ):
        places = {number: place for place, number in enumerate(changed.tolist())}

        def as_it_is(number: int) -> bytes:
            database.seek((number - 1) * PAGE_SIZE_BYTES)
            return database.read(PAGE_SIZE_BYTES)

        def as_it_was(number: int) -> bytes:
            if number not in places:
                return as_it_is(number)
            earlier.seek(places[number] * PAGE_SIZE_BYTES)
            return earlier.read(PAGE_SIZE_BYTES)

        return row_changes(_pages(as_it_was), _pages(as_it_is), changed)


def _pages(read: ReadPage) -> Pages:
    return Pages(read, header_of(read(1)))


def _refuse_others(database: Database, changes: dict[str, RowChanges]) -> None:
    others = sorted(name for name, rows in changes.items() if rows and name not in _OF_RECORDS)
    if others:
        raise CannotTellError(f"{others[0]} changed")
    segments = [dict(database.segments(each.collection_id)) for each in database.collections()]
    indexes = [each.get("VECTOR", "") for each in segments]
    moved = changes["max_seq_id"]
    if {row[0] for row in (*moved.removed.values(), *moved.added.values())} & {*indexes}:
        raise CannotTellError("an index changed")
    # Only what every index has is purged from the log, and what is there stays as it is.
    oldest, log = min(map(database.max_seq_id, indexes), default=0), changes["embeddings_queue"]
    if any(seq_id > oldest or seq_id in log.added for seq_id in log.removed):
        raise CannotTellError("entries of the log changed, or are gone that an index lacks")


def _structure(directory: Path, *, thorough: bool) -> tuple[tuple[str, ...], float]:
    start = time.perf_counter()
    with Database(directory) as database:
        return check_structure(database, thorough=thorough), time.perf_counter() - start


def _checked(
    records: ChangedRecords, structure: Future[tuple[tuple[str, ...], float]]
) -> Iterator[Plain]:
    start = time.perf_counter()
    rows = look_at_rows(records.database, records.rows, records.entries)
    looked_s = time.perf_counter() - start
    answer, checked_s = structure.result()
    first, *others = check_deep(replace(rows, integrity_check=answer))
    yield first.plain(checked_s)
    yield from (finding.plain(looked_s) for finding in others)


def _full_text(directory: Path, request: Plain) -> Plain:
    start = time.perf_counter()
    if request["merged_here"]:
        wrong = check_full_text_in_place(directory / DATABASE)
    else:
        wrong = check_full_text(directory / DATABASE, Path(request["scratch"]))
    finding = Finding("full-text-index", not wrong, wrong or "ok")
    return finding.plain(time.perf_counter() - start)


class _Look:
    """What changed in the collections of a directory."""

    def __init__(self, records: ChangedRecords, before: dict[str, Plain]) -> None:
        self._records = records
        self._before = before
        self._rows = {row.name: row for row in records.database.collections()}
        self._changes = {name: records.of_collection(row) for name, row in self._rows.items()}

    def findings(self) -> Iterator[Plain]:
        """Check every collection."""
        start = time.perf_counter()
        same = self._before.keys() == self._rows.keys()
        yield Finding("collection", same, ", ".join(self._rows) or "none").plain(
            time.perf_counter() - start
        )
        for change in self._changes.values():
            for finding in (
                check_log(change.anatomy),
                check_vectors(change.anatomy),
                _same_ids(change),
            ):
                yield finding.plain(time.perf_counter() - start)
                start = time.perf_counter()

    @property
    def index_read(self) -> bool:
        """Whether vectors had to be looked up in an index."""
        return any(change.index_read for change in self._changes.values())

    def summaries(self) -> list[Plain]:
        """Give the collections' counts and multiset hashes; only where every check passed."""
        before, after = self._records.values_before(), self._records.values_after()
        return [
            self._summary(self._rows[name], change, before, after)
            for name, change in self._changes.items()
        ]

    def _summary(
        self, row: CollectionRow, change: CollectionChange, before: ValuesByRow, after: ValuesByRow
    ) -> Plain:
        known = self._before[row.name]
        total = multiset.from_text(known["multiset"])
        total -= _hash(change.records_before(before), row.space)
        total += _hash(change.records_after(after), row.space)
        return {
            "name": row.name,
            "count": known["count"] + len(change.rows_after) - len(change.rows_before),
            "multiset": total.to_text(),
            "dimension": row.dimension,
            "space": row.space,
        }


def _same_ids(change: CollectionChange) -> Finding:
    before, rows = change.ids_of_rows()
    vectors = change.ids_of_vectors(before)
    missing, extra = len(rows - vectors), len(vectors - rows)
    evidence = f"{len(change.rows_after)} rows looked at"
    if missing or extra:
        evidence += f"; {missing} rows without vector, {extra} vectors without row"
    unique = len(set(change.rows_after.values())) == len(change.rows_after)
    return Finding("same-ids", unique and not missing and not extra, evidence)


def _hash(records: list[Record], space: str) -> multiset.MultisetHash:
    # ChromaDB normalises the vectors of a cosine collection.
    with_embedding = space != "cosine"
    return multiset.of_digests(
        record_digest(record, with_embedding=with_embedding) for record in records
    )
