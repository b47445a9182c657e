"""Entries of ChromaDB's log, in order -> which ids there are, and their newest vectors.

The one place that says what an entry does: an ADD of an id that is there changes nothing, an
UPDATE of one that is not changes nothing, and an UPDATE without a vector changes no vector.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chromaseal.seal.anatomy import LogEntry, LogOperation

DOCUMENT_KEY = "chroma:document"
# What ChromaDB's reader of JSON was seen to miss is one.
_READING_ULPS = 4
# Of a direction's components: what dividing by a length in single precision may leave.
_UNIT_TOLERANCE = 1e-5


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
        values: by id, the metadata and documents that entries gave; None for what they took away.
        whole: ids of which ``values`` has everything, as their first entry is known.
    """

    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    changes: dict[str, int] = field(default_factory=dict)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)

    def contradictions(self, record_id: str, values: Mapping[str, Any]) -> list[str]:
        """Give the keys of which a row says something else than the last entries."""
        told = self.values.get(record_id, {})
        wrong = [
            key
            for key, value in told.items()
            if (key in values if value is None else not same_value(value, values.get(key)))
        ]
        if record_id in self.whole:
            # A new record can have lists that ChromaDB has left behind of a deleted one.
            lists = {key for key, value in values.items() if isinstance(value, list)}
            wrong += sorted(values.keys() - told.keys() - lists)
        return wrong


def same_value(logged: object, stored: object) -> bool:
    """Whether a value of the log is the one in the tables.

    ChromaDB's reader of JSON can miss the last bits of a float, so they need not agree.
    """
    if isinstance(logged, dict):
        # A sparse vector, which the tables keep in a form of their own.
        return True
    if isinstance(logged, list) and isinstance(stored, list):
        # Before its items there may be those of a deleted record.
        own = stored[len(stored) - len(logged) :]
        return len(own) == len(logged) and all(map(same_value, logged, own))
    if isinstance(logged, float) and isinstance(stored, float):
        return abs(logged - stored) <= _READING_ULPS * math.ulp(logged)
    return type(logged) is type(stored) and logged == stored


def same_vector(one: NDArray[np.float32], other: NDArray[np.float32], space: str) -> bool:
    """Whether two vectors are the same; of a cosine collection only their direction counts."""
    if one.shape != other.shape:
        return False
    if space != "cosine" or np.array_equal(one, other):
        return bool(np.array_equal(one, other))
    if not (one.any() and other.any()):
        # What divides by a length that single precision does not have is left with nothing.
        return _is_too_long(one) or _is_too_long(other)
    return bool(np.abs(_direction(one) - _direction(other)).max(initial=0) < _UNIT_TOLERANCE)


def _is_too_long(vector: NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isinf(np.dot(vector, vector)))


def _direction(vector: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = vector.astype(np.float64)
    return wide / (np.linalg.norm(wide) or 1.0)


def given_vectors(log: Iterable[LogEntry]) -> dict[str, NDArray[np.float32]]:
    """Give the vectors by id that records have after some entries, whatever was before them.

    Args:
        log: entries, oldest first. Whether an ADD or an UPDATE counts hangs on what was before, so
            they tell something only after an UPSERT.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for entry in log:
        if entry.is_delete or not entry.is_sound:
            found.pop(entry.record_id, None)
        elif entry.vector is not None and (
            entry.operation is LogOperation.UPSERT
            or (entry.operation is LogOperation.UPDATE and entry.record_id in found)
        ):
            found[entry.record_id] = entry.vector
    return found


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
    last_changes: Mapping[str, int] | None = None,
) -> Applied:
    """Apply entries to what was there before them.

    Args:
        log: entries, oldest first.
        present: the ids that had a vector; None where that is not known.
        last_changes: by id, the place of the entry that changed it last, as its row says.
    """
    applying = _Applying(present, last_changes or {})
    for entry in log:
        applying.apply(entry)
    return applying.applied


class _Applying:
    """Entries, one after the other."""

    def __init__(self, present: Collection[str] | None, last_changes: Mapping[str, int]) -> None:
        self.applied = Applied(ids=set(present or ()))
        self._is_start_known = present is not None
        self._last_changes = last_changes

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
            was_there = self._was_there(entry.record_id)
            counts = self._counts(entry, was_there=was_there)
            if counts and (was_there is False or entry.operation is LogOperation.ADD):
                self._forget(entry.record_id)
                applied.whole.add(entry.record_id)
            elif entry.operation is LogOperation.UPSERT and was_there is None:
                # It may be new, and then updates before it have changed nothing.
                applied.values.pop(record_id, None)
            self._change(entry, counts=counts)

    def _forget(self, record_id: str) -> None:
        applied = self.applied
        applied.vectors.pop(record_id, None)
        applied.changes.pop(record_id, None)
        applied.values.pop(record_id, None)
        applied.whole.discard(record_id)

    def _change(self, entry: LogEntry, *, counts: bool | None) -> None:
        applied, record_id, vector = self.applied, entry.record_id, entry.vector
        if entry.operation is not LogOperation.UPDATE and vector is not None:
            # Counting or not, it is there now.
            applied.ids.add(record_id)
            applied.gone.discard(record_id)
        if counts is False:
            return
        if counts is None:
            self._forget(record_id)
            applied.unsure.add(record_id)
            return
        applied.changes[record_id] = entry.seq_id
        applied.values.setdefault(record_id, {}).update(entry.values or {})
        if vector is not None:
            applied.vectors[record_id] = vector
            applied.unsure.discard(record_id)

    def _counts(self, entry: LogEntry, *, was_there: bool | None) -> bool | None:
        """Say whether an entry changes something; None where there is no telling."""
        if entry.operation is LogOperation.UPDATE:
            return was_there is not False
        if entry.operation is not LogOperation.ADD:
            return True
        last = self._last_changes.get(entry.record_id, -1)
        if last == entry.seq_id:
            return True
        if was_there is None:
            # One that came after the last change has changed nothing.
            return False if 0 <= last < entry.seq_id else None
        return not was_there

    def _was_there(self, record_id: str) -> bool | None:
        applied = self.applied
        if record_id in applied.unsure:
            return None
        if record_id in applied.ids:
            return True
        return False if self._is_start_known or record_id in applied.gone else None
