"""What can be read of a damaged directory -> the records to believe, and what is lost.

A part is believed where two places on disk agree on it, or where only one could have it and that
one is whole. What is in doubt is never passed off as the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chromaseal.record import MetadataValue
from chromaseal.repair.remains import (
    CollectionRemains,
    IndexRemains,
    Remains,
    RowRemains,
)

_UPDATE = 1
_DELETE = 3
_LENGTH_TOLERANCE = 1e-3
VECTOR, DOCUMENT, METADATA = "vector", "document", "metadata"
_DOCUMENT_KEY = "chroma:document"
# Every ChromaDB makes this one by itself.
_DEFAULT_DATABASE = "00000000-0000-0000-0000-000000000000"
_TORN = "the pages of the database are of several moments"
_ANOTHER_MOMENT = "the index and the tables are not of the same moment"


@dataclass(frozen=True, slots=True)
class JudgedRecord:
    """One record.

    Attributes:
        record_id: of the record.
        vector: None if it is lost.
        document: the text.
        metadata: the values.
        lost: parts that are lost, with the reason.
        doubtful: parts that are there but may be of another moment, with the reason.
    """

    record_id: str
    vector: NDArray[np.float32] | None
    document: str | None
    metadata: Mapping[str, MetadataValue]
    lost: Mapping[str, str]
    doubtful: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class JudgedCollection:
    """One collection.

    Attributes:
        remains: what is left of its row; the name is made up where that is lost.
        dimension: numbers per vector; None if no vector is left.
        records: all that are known of.
        lost: what is lost of the collection itself, with the reason.
        sources: what its records are made from.
        count: how many records there are once all that can be believed is put together.
    """

    remains: CollectionRemains
    dimension: int | None
    records: list[JudgedRecord]
    lost: Mapping[str, str]
    sources: tuple[str, ...]
    count: int

    @property
    def whole(self) -> list[JudgedRecord]:
        """Give the records of which no part is lost."""
        return [record for record in self.records if not record.lost]

    @property
    def harmed(self) -> list[JudgedRecord]:
        """Give the records of which a part is lost or doubtful."""
        return [record for record in self.records if record.lost or record.doubtful]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a directory can be made again from.

    Attributes:
        collections: each.
        from_log: whether the log has everything that ever happened; then it is all that is needed.
        leftovers: what is there and belongs to nobody.
        problem: why nothing can be read; empty if something can.
    """

    collections: list[JudgedCollection]
    from_log: bool
    leftovers: list[Mapping[str, str]] = field(default_factory=list)
    problem: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is lost and nothing in doubt."""
        nothing_lost = not any(each.lost or each.harmed for each in self.collections)
        return bool(self.collections) and nothing_lost and not self.leftovers and not self.problem


def judge(remains: Remains) -> Judgement:
    """Say what to believe."""
    from_log = is_whole_log(remains)
    collections = [*remains.collections, *_without_row(remains)]
    judged = [_Judging(remains, each, from_log=from_log).judged() for each in collections]
    leftovers = [] if from_log else [*_leftovers(remains)]
    return Judgement(judged, from_log, leftovers, remains.problem)


def is_whole_log(remains: Remains) -> bool:
    """Whether the log was never purged and is whole, so that replaying it gives everything."""
    log = remains.log
    if remains.is_torn or not remains.log_whole or not log:
        return False
    if not all(entry.is_sound for entry in log):
        return False
    sizes = {(entry.topic, len(entry.vector)) for entry in log if entry.vector is not None}
    if len(sizes) > len({topic for topic, _ in sizes}):
        return False
    newest = max(
        len(log),
        *(row.seq_id or 0 for row in remains.rows),
        *remains.places.values(),
    )
    return log[0].seq_id == 1 and log[-1].seq_id == len(log) == newest


def _without_row(remains: Remains) -> Iterator[CollectionRemains]:
    """Find collections that only their segments or their log still name."""
    known = {each.collection_id for each in remains.collections}
    of_segments = [each.collection_id for each in remains.segments]
    of_log = [entry.topic.rpartition("/")[2] for entry in remains.log if entry.is_sound]
    named = [each for each in dict.fromkeys([*of_segments, *of_log]) if each not in known]
    ids = [each for each in named if each in of_log or of_segments.count(each) > 1]
    if not ids and not known and (remains.rows or remains.indexes):
        ids = ["unknown"]
    for collection_id in ids:
        yield CollectionRemains(collection_id, "", "", None, None)


class _Judging:
    """One collection, looked at from all sides."""

    def __init__(self, remains: Remains, collection: CollectionRemains, *, from_log: bool) -> None:
        self._remains = remains
        self._collection = collection
        self._from_log = from_log
        self._log = [e for e in remains.log if e.topic.endswith(f"/{collection.collection_id}")]
        self._orphaned = {str(orphan["key"]) for orphan in remains.orphans}
        self._alone = len(remains.collections) <= 1
        self._index = self._find_index()
        self._metadata_id = self._segment("METADATA") or self._unclaimed_segment()
        # Records whose last entry is damaged.
        self._unsure: set[str] = set()
        self._recent, self._gone = self._folded()
        own_rows = self._own_rows()
        self._rows = {row.record_id: row for row in own_rows}
        # A record has one row; an older one beside it is of an older page.
        self._is_torn = remains.is_torn or len(own_rows) > len(self._rows)
        self._entries = {(entry.seq_id, entry.record_id) for entry in self._log}
        purged = [self._log[0].seq_id - 1] if self._log else []
        place = remains.places.get(self._segment("VECTOR"))
        # With neither there is no telling what the index has.
        self._log_begins_after = min([*purged, *([] if place is None else [place])], default=0)

    def judged(self) -> JudgedCollection:
        """Put it together."""
        records = [] if self._from_log else list(self._records())
        dimension = self._dimension(records)
        count = sum(not record.lost for record in records)
        return JudgedCollection(
            remains=self._collection,
            dimension=dimension,
            records=records,
            lost=self._lost(),
            sources=tuple(self._sources(records)),
            count=len(self._replayed()) if self._from_log else count,
        )

    def _replayed(self) -> set[str]:
        """Give the ids that are left when the log has been replayed."""
        alive: set[str] = set()
        for entry in self._log:
            if entry.operation == _DELETE:
                alive.discard(entry.record_id)
            elif entry.operation != _UPDATE:
                alive.add(entry.record_id)
        return alive

    def _segment(self, scope: str) -> str:
        wanted = self._collection.collection_id
        own = [
            each.segment_id
            for each in self._remains.segments
            if each.scope == scope and each.collection_id == wanted
        ]
        return own[0] if len(own) == 1 else ""

    def _find_index(self) -> IndexRemains | None:
        indexes = self._remains.indexes
        named = self._segment("VECTOR")
        if named in indexes:
            return indexes[named]
        if not self._alone:
            return None
        claimed = {each.segment_id for each in self._remains.segments}
        free = [index for folder, index in indexes.items() if folder not in claimed]
        known = [index for index in free or indexes.values() if index.names]
        return known[0] if len(known) == 1 else None

    def _unclaimed_segment(self) -> str:
        claimed = {each.segment_id for each in self._remains.segments}
        free = {row.segment_id for row in self._remains.rows} - claimed
        return free.pop() if len(free) == 1 and self._alone else ""

    def _own_rows(self) -> list[RowRemains]:
        rows, own = self._remains.rows, self._metadata_id
        found = [row for row in rows if row.segment_id == own]
        if self._alone:
            # A row of a segment that is nobody's, for a vector that has no row.
            claimed = {own, *(each.segment_id for each in self._remains.segments)}
            there = {row.record_id for row in found}
            wanted = self._vector_ids() - there
            found += [r for r in rows if r.segment_id not in claimed and r.record_id in wanted]
        return sorted(found, key=lambda row: row.row_id)

    def _folded(self) -> tuple[dict[str, NDArray[np.float32]], set[str]]:
        recent: dict[str, NDArray[np.float32]] = {}
        gone: set[str] = set()
        for entry in self._log:
            if not entry.is_sound:
                self._unsure.add(entry.record_id)
                continue
            self._unsure.discard(entry.record_id)
            if entry.operation == _DELETE:
                recent.pop(entry.record_id, None)
                gone.add(entry.record_id)
            elif entry.vector is not None:
                recent[entry.record_id] = entry.vector
                gone.discard(entry.record_id)
        return recent, gone

    def _vector_ids(self) -> set[str]:
        names = set(self._index.names) | self._index.contradicted if self._index else set()
        return (names - self._gone) | self._recent.keys()

    def _records(self) -> Iterator[JudgedRecord]:
        mixed = self._is_mixed()
        for row in self._rows.values():
            yield self._record(row, mixed=mixed)
        unnamed = self._remains.unnamed.get(self._metadata_id, set())
        for record_id in sorted((unnamed | self._vector_ids()) - self._rows.keys()):
            reason = "its row cannot be read" if record_id in unnamed else "it has no row"
            lost = {DOCUMENT: reason, METADATA: reason}
            yield JudgedRecord(record_id, self._vector(record_id), None, {}, lost, {})

    def _record(self, row: RowRemains, *, mixed: bool) -> JudgedRecord:
        vector = self._vector(row.record_id)
        lost = {DOCUMENT if key == _DOCUMENT_KEY else key: why for key, why in row.lost.items()}
        doubtful = {}
        if vector is None:
            lost[VECTOR] = self._why_no_vector(row.record_id)
        elif self._has_gap(row):
            doubtful[VECTOR] = "its last change is not in the log"
        elif mixed and row.record_id not in self._recent:
            doubtful[VECTOR] = _ANOTHER_MOMENT
        if self._is_torn:
            doubtful |= {VECTOR: _TORN, DOCUMENT: _TORN, METADATA: _TORN}
        elif not self._remains.values_confirmed:
            doubtful[METADATA] = "nothing says which values it should have"
        for key in self._orphaned - row.metadata.keys() - lost.keys():
            if key != _DOCUMENT_KEY or row.document is None:
                doubtful[key] = "a value of this name belongs to no record"
        return JudgedRecord(row.record_id, vector, row.document, row.metadata, lost, doubtful)

    def _vector(self, record_id: str) -> NDArray[np.float32] | None:
        if record_id in self._unsure:
            return None
        recent = self._recent.get(record_id)
        if recent is not None or self._index is None:
            return recent if recent is None or self._fits(recent) else None
        found = self._index.vector(record_id)
        return found if found is not None and self._is_unit(found) else None

    def _fits(self, vector: NDArray[np.float32]) -> bool:
        known = self._index.dimension if self._index else 0
        known = known or self._collection.dimension or 0
        return not known or len(vector) == known

    def _is_unit(self, vector: NDArray[np.float32]) -> bool:
        settings = self._collection.settings
        if settings is None or settings.space != "cosine":
            return True
        length = float(np.sqrt(np.dot(vector, vector)))
        return length == 0 or abs(length - 1) <= _LENGTH_TOLERANCE

    def _why_no_vector(self, record_id: str) -> str:
        if record_id in self._unsure:
            return "its entry in the log is damaged"
        if self._index is None:
            return "the index is missing"
        if self._index.problem:
            return self._index.problem
        if record_id in self._index.contradicted:
            return "the index contradicts itself about its label"
        if record_id in self._index.names:
            return "it lies in a damaged part of data_level0.bin"
        return "neither the index nor the log has it"

    def _has_gap(self, row: RowRemains) -> bool:
        """Whether the entry that last changed a record should be in the log and is not."""
        if row.seq_id is None or row.seq_id <= self._log_begins_after:
            return False
        return (row.seq_id, row.record_id) not in self._entries

    def _is_mixed(self) -> bool:
        """Whether the index and the tables can be of one moment."""
        index = self._index
        if index is None or not index.names:
            return False
        unfound = sum(index.vector(record_id) is None for record_id in index.names)
        explained = index.is_cut or index.has_bad_pages
        if index.strangers or (unfound and not explained):
            return True
        unexplained = self._vector_ids() ^ self._rows.keys()
        unexplained -= index.contradicted
        if not self._remains.tables_whole:
            unexplained &= self._rows.keys()
        return bool(unexplained)

    def _dimension(self, records: Iterable[JudgedRecord]) -> int | None:
        sizes = {len(record.vector) for record in records if record.vector is not None}
        if self._from_log:
            sizes = {len(entry.vector) for entry in self._log if entry.vector is not None}
        return sizes.pop() if len(sizes) == 1 else self._collection.dimension

    def _lost(self) -> dict[str, str]:
        lost = {}
        collection = self._collection
        if not collection.name:
            lost["name"] = "its row cannot be read"
        if collection.settings is None:
            lost["settings"] = "distance and sizes of the index cannot be read"
        databases = {cells[0] for cells in self._remains.cells.get("databases", ((), []))[1]}
        if collection.database_id not in {*databases, _DEFAULT_DATABASE}:
            lost["database"] = f"no database {collection.database_id or 'is named'}"
        return lost

    def _sources(self, records: list[JudgedRecord]) -> Iterator[str]:
        if self._from_log:
            yield f"the log, which has all that ever happened: {len(self._log)} entries"
            return
        if records:
            yield f"{len(self._rows)} rows of the tables"
        if self._recent:
            yield f"{len(self._recent)} vectors of the log"
        if self._index is not None and self._index.names:
            yield f"the vectors of data_level0.bin by {len(self._index.names)} names"


def _leftovers(remains: Remains) -> Iterator[Mapping[str, str]]:
    for orphan in remains.orphans:
        yield {"what": "a value of no record", **{k: str(v) for k, v in orphan.items()}}
    if not remains.tables_whole and not remains.problem:
        yield {"what": "rows of chroma.sqlite3 that cannot be read"}
