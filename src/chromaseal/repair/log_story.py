"""A collection's log, its rows and its index's names -> what the log says of each record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chromaseal.repair.remains import EntryRemains, IndexRemains, RowRemains
from chromaseal.seal.log import DOCUMENT_KEY, apply_log, split_log


class LogStory:
    """What a log says.

    Args:
        log: the collection's entries, oldest first.
        rows: the collection's rows.
        index: the collection's index.
        places: up to where its segments have applied the log: of the index first, then of the
            rows; None where that is not known.
        is_whole: whether the log has everything that ever happened.
    """

    def __init__(
        self,
        log: Sequence[EntryRemains],
        rows: Iterable[RowRemains],
        index: IndexRemains | None,
        places: tuple[int | None, int | None],
        *,
        is_whole: bool,
    ) -> None:
        own_rows = list(rows)
        self.is_whole = is_whole
        self.place = _believed(log, own_rows, index, places)
        changed = {row.record_id: row.seq_id for row in own_rows if row.seq_id is not None}
        entries = [entry.plain for entry in log]
        flushed, pending = split_log(entries, self.place or 0)
        indexed = {*index.names, *index.contradicted} if index is not None else set()
        was_purged = bool(log) and any(place < log[0].seq_id for place in changed.values())
        never_flushed = not self.place and not indexed and not was_purged
        begin: set[str] | None = set() if is_whole or never_flushed else None
        self._all = apply_log(entries, begin, changed)
        self._flushed = apply_log(flushed, begin, changed)
        present = self._flushed.ids if is_whole else indexed or begin
        self._pending = apply_log(pending, present, changed)

    @property
    def ids(self) -> set[str]:
        """Give the ids that should have a vector, as far as anybody names them."""
        return self._all.ids if self.is_whole else self._pending.ids

    @property
    def recent(self) -> Mapping[str, NDArray[np.float32]]:
        """Give the vectors that are newer than the index."""
        return self._pending.vectors

    def order(self, record_id: str) -> tuple[int, str]:
        """Give what to sort ids by: their last changes, where the log has them."""
        return self._all.changes.get(record_id, 0), record_id

    def has_damaged(self, record_id: str) -> bool:
        """Whether the log does not tell a record's newest vector, and it is not in the index."""
        return record_id in (self._all if self.is_whole else self._pending).unsure

    def newest(self, record_id: str) -> NDArray[np.float32] | None:
        """Give a vector that is newer than the index."""
        return (self._all if self.is_whole else self._pending).vectors.get(record_id)

    def of_index(self, record_id: str) -> NDArray[np.float32] | None:
        """Give the vector that the index must have, where the log still says it."""
        if record_id in self._flushed.unsure:
            return None
        return self._flushed.vectors.get(record_id)

    def value(self, record_id: str, key: str) -> Any:  # noqa: ANN401 - any metadata
        """Give a value that the last entries gave; None where they gave none."""
        return self._all.values.get(record_id, {}).get(key)

    def told(self, record_id: str) -> Mapping[str, Any]:
        """Give every value that the last entries gave."""
        given = self._all.values.get(record_id, {})
        return {key: value for key, value in given.items() if value is not None}

    def is_told_whole(self, record_id: str) -> bool:
        """Whether everything of a record is in the log."""
        return record_id in self._all.whole and record_id in self._all.vectors

    def against(self, row: RowRemains) -> dict[str, str]:
        """Say what of a row is not as the log has it: keys with the reason."""
        record_id = row.record_id
        if record_id in self._all.gone:
            return {"id": "the log takes it away"}
        if self.is_whole and record_id not in self._all.ids:
            return {"id": "the log, which is whole, does not have it"}
        last = self._all.changes.get(record_id)
        if last is not None and row.seq_id is not None and last > row.seq_id:
            return {"id": "the log has a later change of it"}
        values = dict(row.metadata)
        if row.document is not None:
            values[DOCUMENT_KEY] = row.document
        wrong = self._all.contradictions(record_id, values)
        return {key: "the log has another one" for key in wrong if key not in row.lost}


def _believed(
    log: Sequence[EntryRemains],
    rows: Sequence[RowRemains],
    index: IndexRemains | None,
    places: tuple[int | None, int | None],
) -> int | None:
    """Give up to where the index has applied the log; None where nothing says it."""
    of_index, of_rows = places
    newest = max(
        of_rows or 0,
        max((entry.seq_id for entry in log), default=0),
        max((row.seq_id or 0 for row in rows), default=0),
    )
    if of_index is not None and 0 <= of_index <= newest:
        return of_index
    if index is not None and index.names and log:
        # What is older than the last flush is purged, but for the entry of the flush itself.
        return log[0].seq_id
    return None
