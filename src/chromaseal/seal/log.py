"""Entries of ChromaDB's log, in order -> which ids there are, and their newest vectors.

The one place that says what an entry does: an ADD of an id that is there changes nothing, an
UPDATE of one that is not changes nothing, and an UPDATE without a vector changes no vector.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chromaseal.seal.anatomy import LogEntry, LogOperation


@dataclass(slots=True)
class Applied:
    """What entries come to.

    Attributes:
        vectors: the newest vector by id, where an entry gave one. Where it was not known which
            ids were there before, one that an UPDATE gave counts only if its id was there.
        ids: that have a vector afterwards, those that were there before among them.
        gone: ids that an entry took away and none brought back.
        unsure: ids whose vector the entries do not tell: the last one that counts is damaged, or
            is an ADD of an id of which it is not known whether it was there before.
        changes: the place of the last entry that changed something, by the ids that are there.
    """

    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    changes: dict[str, int] = field(default_factory=dict)


def split_log(
    log: Iterable[LogEntry], flushed_seq_id: int
) -> tuple[list[LogEntry], list[LogEntry]]:
    """Give the entries that the index has, and those that it does not have yet."""
    entries = list(log)
    flushed = [entry for entry in entries if entry.seq_id <= flushed_seq_id]
    return flushed, [entry for entry in entries if entry.seq_id > flushed_seq_id]


def apply_log(
    log: Iterable[LogEntry],
    present: Collection[str] | None,
    effective: Collection[tuple[int, str]] = (),
) -> Applied:
    """Apply entries to what was there before them.

    Args:
        log: entries, oldest first.
        present: the ids that had a vector; None where that is not known.
        effective: place and id of entries that are known to have changed something, from the
            rows that name them as their last change.
    """
    applying = _Applying(present, effective)
    for entry in log:
        applying.apply(entry)
    return applying.applied


class _Applying:
    """Entries, one after the other."""

    def __init__(
        self, present: Collection[str] | None, effective: Collection[tuple[int, str]]
    ) -> None:
        self.applied = Applied(ids=set(present or ()))
        self._is_start_known = present is not None
        self._effective = effective

    def apply(self, entry: LogEntry) -> None:
        """Apply one."""
        applied, record_id = self.applied, entry.record_id
        if not entry.is_sound:
            self._forget(record_id)
            applied.unsure.add(record_id)
        elif entry.is_delete:
            self._forget(record_id)
            applied.ids.discard(record_id)
            applied.unsure.discard(record_id)
            applied.gone.add(record_id)
        else:
            self._change(entry, counts=self._counts(entry))

    def _forget(self, record_id: str) -> None:
        self.applied.vectors.pop(record_id, None)
        self.applied.changes.pop(record_id, None)

    def _change(self, entry: LogEntry, *, counts: bool | None) -> None:
        applied, record_id, vector = self.applied, entry.record_id, entry.vector
        if counts is False:
            return
        if entry.operation is not LogOperation.UPDATE and vector is not None:
            # Counting or not, it is there now.
            applied.ids.add(record_id)
            applied.gone.discard(record_id)
        if counts is None:
            self._forget(record_id)
            applied.unsure.add(record_id)
            return
        applied.changes[record_id] = entry.seq_id
        if vector is not None:
            applied.vectors[record_id] = vector
            applied.unsure.discard(record_id)

    def _counts(self, entry: LogEntry) -> bool | None:
        """Say whether an entry changes something; None where there is no telling."""
        was_there = self._was_there(entry.record_id)
        if entry.operation is LogOperation.UPDATE:
            return was_there is not False
        if entry.operation is LogOperation.ADD and (
            (entry.seq_id, entry.record_id) not in self._effective
        ):
            return None if was_there is None else not was_there
        return True

    def _was_there(self, record_id: str) -> bool | None:
        applied = self.applied
        if record_id in applied.unsure:
            return None
        if record_id in applied.ids:
            return True
        return False if self._is_start_known or record_id in applied.gone else None
