"""What can be read of a damaged directory -> the records to believe, and what is lost.

A part is believed where two places on disk agree on it, or where only one could have it and that
one is whole. What is in doubt is never passed off as the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chromaseal.repair.judged import (
    DOCUMENT,
    METADATA,
    VECTOR,
    JudgedCollection,
    JudgedRecord,
    Judgement,
)
from chromaseal.repair.leftovers import leftovers
from chromaseal.repair.log_story import LogStory
from chromaseal.repair.remains import (
    CollectionRemains,
    EntryRemains,
    IndexRemains,
    Remains,
    RowRemains,
)
from chromaseal.repair.unapplied import apply, unapplied
from chromaseal.seal.log import DOCUMENT_KEY, same_vector

_LENGTH_TOLERANCE = 1e-3
# Every ChromaDB makes this one by itself.
_DEFAULT_DATABASE = "00000000-0000-0000-0000-000000000000"
_TORN = "the pages of the database are of several moments"
_ANOTHER_MOMENT = "the index and the tables are not of the same moment"


def judge(remains: Remains) -> Judgement:
    """Say what to believe."""
    from_log = is_whole_log(remains)
    collections = [*remains.collections, *_without_row(remains)]
    judging = [_Judging(remains, each, from_log=from_log) for each in collections]
    judged = [each.judged() for each in judging]
    left: list[Mapping[str, Any]] = [{"what": each} for each in remains.disputed]
    if not from_log:
        owned = {row_id for each in judging for row_id in each.own_row_ids}
        used = {each.own_index.folder for each in judging if each.own_index is not None}
        left += leftovers(remains, owned, used)
    return Judgement(judged, from_log, left, remains.problem)


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
    places = [row.seq_id or 0 for row in remains.rows]
    newest = max([len(log), *places, *remains.places.values()])
    return log[0].seq_id == 1 and log[-1].seq_id == len(log) == newest


def _without_row(remains: Remains) -> Iterator[CollectionRemains]:
    """Find collections that only their segments or their log still name.

    Segments alone, of which no table has anything, are left of a database that was deleted.
    """
    known = {each.collection_id for each in remains.collections}
    used = {*(row.segment_id for row in remains.rows), *remains.unnamed, *remains.places}
    deleted = {each.collection_id for each in remains.segments if remains.tables_whole} - {
        each.collection_id for each in remains.segments if each.segment_id in used
    }
    of_segments = [each.collection_id for each in remains.segments]
    of_log = [entry.topic.rpartition("/")[2] for entry in remains.log if entry.is_sound]
    named = [each for each in dict.fromkeys([*of_segments, *of_log]) if each not in known]
    several = {each for each in of_segments if of_segments.count(each) > 1} - deleted
    ids = [each for each in named if each in of_log or each in several]
    theirs = {each.segment_id for each in remains.segments if each.collection_id in deleted}
    if not ids and not known and (remains.rows or remains.indexes.keys() - theirs):
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
        self.own_index = self._find_index()
        self._metadata_id = self._segment("METADATA") or self._unclaimed_segment()
        own_rows = self._own_rows()
        self.own_row_ids = {row.row_id for row in own_rows}
        # A record has one row; an older one beside it is of an older page.
        twice = len(own_rows) > len({row.record_id for row in own_rows})
        self._is_torn = remains.is_torn or twice
        self._unapplied = self._find_unapplied(own_rows)
        if self._unapplied:
            own_rows = apply(self._unapplied, own_rows, self._metadata_id)
        self._rows = {row.record_id: row for row in own_rows}
        self._story = self._told(own_rows)
        self._entries = {(entry.seq_id, entry.record_id) for entry in self._log}
        purged = [self._log[0].seq_id - 1] if self._log else []
        place = self._story.place
        # With neither there is no telling what the index has.
        self._log_begins_after = min([*purged, *([] if place is None else [place])], default=0)

    def judged(self) -> JudgedCollection:
        """Put it together."""
        records = list(self._records())
        return JudgedCollection(
            remains=self._collection,
            dimension=self._dimension(records),
            records=records,
            lost=self._lost(),
            sources=tuple(self._sources(records)),
            count=sum(not record.lost for record in records),
        )

    def _told(self, rows: Iterable[RowRemains]) -> LogStory:
        places = self._remains.places
        found = places.get(self._segment("VECTOR")), places.get(self._metadata_id)
        return LogStory(self._log, rows, self.own_index, found, is_whole=self._from_log)

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
        if self._alone and self._segment("VECTOR") in self._remains.indexes:
            # A row of a segment that is nobody's, for a vector of its own that has no row.
            claimed = {own, *(each.segment_id for each in self._remains.segments)}
            there = {row.record_id for row in found}
            wanted = self._told(found).ids - there
            found += [r for r in rows if r.segment_id not in claimed and r.record_id in wanted]
        return sorted(found, key=lambda row: row.row_id)

    def _find_unapplied(self, rows: list[RowRemains]) -> list[EntryRemains]:
        """Find what a writer that was killed has logged, and not brought into the tables."""
        remains = self._remains
        certain = remains.tables_whole and remains.log_whole and not remains.disputed
        if self._is_torn or not certain or not self._metadata_id:
            return []
        return unapplied(self._log, rows, remains.places.get(self._metadata_id))

    def _records(self) -> Iterator[JudgedRecord]:
        contradicted = any(map(self._is_contradicted, self._rows))
        mixed = not self._from_log and (self._is_mixed or contradicted)
        for row in self._rows.values():
            yield self._record(row, mixed=mixed)
        unnamed = self._remains.unnamed.get(self._metadata_id, set())
        missing = sorted(self._story.ids - self._rows.keys(), key=self._story.order)
        for record_id in [*missing, *sorted(unnamed - self._rows.keys() - {*missing})]:
            reason = "its row cannot be read" if record_id in unnamed else "it has no row"
            yield self._without_row(record_id, reason)

    def _without_row(self, record_id: str, reason: str) -> JudgedRecord:
        vector, story = self._vector(record_id), self._story
        if self._from_log and story.is_told_whole(record_id) and vector is not None:
            values = dict(story.told(record_id))
            document = values.pop(DOCUMENT_KEY, None)
            expected = self._remains.tables_whole and not self._remains.orphans and self._rows
            doubtful = dict.fromkeys([DOCUMENT, METADATA], reason) if expected else {}
            return JudgedRecord(
                record_id, vector, document, values, {}, doubtful, frozenset(values)
            )
        lost = {DOCUMENT: reason, METADATA: reason}
        return JudgedRecord(record_id, vector, None, {}, lost, {})

    def _record(self, row: RowRemains, *, mixed: bool) -> JudgedRecord:
        vector, story = self._vector(row.record_id), self._story
        lost = dict(row.lost)
        restored = {key: story.value(row.record_id, key) for key in lost}
        restored = {key: value for key, value in restored.items() if value is not None}
        lost = {key: why for key, why in lost.items() if key not in restored}
        document = restored.pop(DOCUMENT_KEY, row.document)
        metadata = {**row.metadata, **restored}
        doubtful = self._doubts(row, vector, mixed=mixed)
        if vector is None:
            lost[VECTOR] = self._why_no_vector(row.record_id)
        if not self._from_log:
            for key in self._orphaned - metadata.keys() - lost.keys():
                if key != DOCUMENT_KEY or document is None:
                    doubtful[key] = "a value of this name belongs to no record"
        return JudgedRecord(
            row.record_id,
            vector,
            document,
            metadata,
            {_part(key): why for key, why in lost.items()},
            {_part(key): why for key, why in doubtful.items()},
            frozenset(restored),
        )

    def _doubts(
        self, row: RowRemains, vector: NDArray[np.float32] | None, *, mixed: bool
    ) -> dict[str, str]:
        story = self._story
        doubtful = story.against(row)
        # Where the log has everything, an index of another moment says nothing.
        outdated = self._from_log and self._is_mixed
        if mixed:
            # Nothing tells whether it is the index that is older, or the tables with their log.
            doubtful |= dict.fromkeys([VECTOR, DOCUMENT, METADATA], _ANOTHER_MOMENT)
        if vector is None:
            doubtful.pop(VECTOR, None)
        elif self._has_gap(row):
            doubtful[VECTOR] = "its last change is not in the log"
        elif not outdated and self._is_contradicted(row.record_id):
            doubtful[VECTOR] = "the log has another one for the same moment"
        if self._is_torn:
            doubtful |= {VECTOR: _TORN, DOCUMENT: _TORN, METADATA: _TORN}
        elif not (self._remains.values_confirmed or self._from_log):
            doubtful[METADATA] = "nothing says which values it should have"
        return doubtful

    def _is_contradicted(self, record_id: str) -> bool:
        """Whether the index and the entry that it has applied last have different vectors."""
        if record_id in self._story.recent:
            return False
        found, logged = self._indexed(record_id), self._story.of_index(record_id)
        if found is None or logged is None:
            return False
        return not same_vector(found, logged, self._space())

    def _vector(self, record_id: str) -> NDArray[np.float32] | None:
        if self._story.has_damaged(record_id):
            return None
        recent = self._story.newest(record_id)
        if recent is not None:
            return recent if self._fits(recent) else None
        found = self._indexed(record_id)
        if found is None:
            # A part of the index is lost, and the log still has what it had applied.
            found = self._story.of_index(record_id)
            return found if found is not None and self._fits(found) else None
        return found

    def _indexed(self, record_id: str) -> NDArray[np.float32] | None:
        found = self.own_index.vector(record_id) if self.own_index is not None else None
        return found if found is not None and self._is_unit(found) else None

    def _space(self) -> str:
        settings = self._collection.settings
        return settings.space if settings is not None else "l2"

    def _fits(self, vector: NDArray[np.float32]) -> bool:
        known = self.own_index.dimension if self.own_index else 0
        known = known or self._collection.dimension or 0
        return not known or len(vector) == known

    def _is_unit(self, vector: NDArray[np.float32]) -> bool:
        if self._space() != "cosine":
            return True
        length = float(np.sqrt(np.dot(vector, vector)))
        return length == 0 or abs(length - 1) <= _LENGTH_TOLERANCE

    def _why_no_vector(self, record_id: str) -> str:
        if self._story.has_damaged(record_id):
            return "its entry in the log is damaged, or may have changed nothing"
        if self._story.newest(record_id) is not None:
            return "its vector in the log has another length than the others"
        if self.own_index is None:
            return "the index is missing"
        return self.own_index.problem or self._why_not_in(self.own_index, record_id)

    def _why_not_in(self, index: IndexRemains, record_id: str) -> str:
        if record_id in index.contradicted:
            return "the index contradicts itself about its label"
        if record_id in index.names:
            return "it lies in a damaged part of data_level0.bin"
        return "neither the index nor the log has it"

    def _has_gap(self, row: RowRemains) -> bool:
        """Whether the entry that last changed a record should be in the log and is not."""
        if row.seq_id is None or row.seq_id <= self._log_begins_after:
            return False
        return (row.seq_id, row.record_id) not in self._entries

    @cached_property
    def _is_mixed(self) -> bool:
        """Whether the index and the tables can be of one moment."""
        index = self.own_index
        if index is None or not index.names:
            return False
        unfound = sum(index.vector(record_id) is None for record_id in index.names)
        explained = index.is_cut or index.has_bad_pages
        if index.strangers or (unfound and not explained):
            return True
        unexplained = self._story.ids ^ self._rows.keys()
        unexplained -= index.contradicted
        if not self._remains.tables_whole:
            unexplained &= self._rows.keys()
        return bool(unexplained)

    def _dimension(self, records: Iterable[JudgedRecord]) -> int | None:
        sizes = {len(record.vector) for record in records if record.vector is not None}
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
        if self._unapplied:
            yield f"{len(self._unapplied)} entries of the log that the tables did not have yet"
        if self._story.recent:
            yield f"{len(self._story.recent)} vectors of the log"
        if self.own_index is not None and self.own_index.names:
            yield f"the vectors of data_level0.bin by {len(self.own_index.names)} names"


def _part(key: str) -> str:
    return DOCUMENT if key == DOCUMENT_KEY else key
