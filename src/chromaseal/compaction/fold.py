"""Deltas -> what becomes of each record, whatever the order in which they arrived.

Runs are ordered by when they were made and then by their id, and the later run wins: a whole
record for an upsert, each metadata key for an update. An upsert replaces all that a record
had; ChromaDB's own upsert would leave old keys behind. A delete is a change like the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from chromaseal.delta.model import Delta
from chromaseal.record import MetadataPatch, MetadataValue, Record


@dataclass(frozen=True, slots=True, eq=False)
class Replace:
    """The record becomes this one, whatever it was."""

    record: Record


@dataclass(frozen=True, slots=True)
class Patch:
    """The record, if there is one, gets these keys; None clears a key."""

    patch: MetadataPatch


@dataclass(frozen=True, slots=True)
class Remove:
    """The record, if there is one, goes."""


Outcome: TypeAlias = Replace | Patch | Remove


def fold(deltas: Iterable[Delta]) -> dict[str, Outcome]:
    """Give what becomes of every record that the deltas name."""
    outcomes: dict[str, Outcome] = {}
    for delta in sorted(deltas, key=lambda delta: delta.header.order):
        for index, record_id in enumerate(delta.upserts.ids):
            outcomes[record_id] = Replace(delta.upserts.record(index))
        for record_id, patch in delta.updates.items():
            outcomes[record_id] = _patched(outcomes.get(record_id), patch)
        for record_id in delta.deletes:
            outcomes[record_id] = Remove()
    return outcomes


def _patched(before: Outcome | None, patch: MetadataPatch) -> Outcome:
    if before is None:
        return Patch(patch)
    if isinstance(before, Patch):
        return Patch({**before.patch, **patch})
    if isinstance(before, Replace):
        return Replace(patched(before.record, patch))
    return before


def patched(record: Record, patch: MetadataPatch) -> Record:
    """Give a record with metadata keys set or, by None, cleared."""
    merged: Mapping[str, MetadataValue | None] = {**record.metadata, **patch}
    kept = {key: value for key, value in merged.items() if value is not None}
    return Record(record.id, record.embedding, record.document, kept)


def outcome_on(record: Record | None, outcome: Outcome) -> Record | None:
    """Give what a record becomes; None where there is none afterwards."""
    if isinstance(outcome, Replace):
        return outcome.record
    if isinstance(outcome, Remove) or record is None:
        return None
    return patched(record, outcome.patch)
