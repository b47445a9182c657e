"""Deltas -> what their records take on a disk at most, once ChromaDB has them; pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Final

from chromaseal.delta.model import Delta
from chromaseal.record import MetadataValue

# Rows, their indexes, an entry of the log and of the index of vectors.
_RECORD_BYTES: Final = 2_000
# A row of its own, in two indexes, and once more in the log.
_KEY_BYTES: Final = 300
# Of a document's every character the full-text index knows the three that begin there.
_PER_DOCUMENT_BYTE: Final = 16
_PER_VALUE_BYTE: Final = 8
_PER_ID_BYTE: Final = 8
# In the log, as it is written and as it is purged, and in the index, which grows in leaps.
_PER_VECTOR_BYTE: Final = 5


def growth_bytes(deltas: Iterable[Delta], repeated: Iterable[Delta] = ()) -> int:
    """Estimate what records take at most, however well their deltas are compressed.

    Args:
        deltas: all that are merged at once.
        repeated: merged before, and applied once more after those: a record that none of those
            changes is as it was, and nothing is written of it.
    """
    new = list(deltas)
    touched = {i for each in new for i in (*each.upserts.ids, *each.updates, *each.deletes)}
    return sum(_growth_of(each, None) for each in new) + sum(
        _growth_of(each, touched) for each in repeated
    )


def _growth_of(delta: Delta, only: Container[str] | None) -> int:
    def counts(record_id: str) -> bool:
        return only is None or record_id in only

    upserts = delta.upserts
    places = [place for place, record_id in enumerate(upserts.ids) if counts(record_id)]
    updates = {i: patch for i, patch in delta.updates.items() if counts(i)}
    deletes = [i for i in delta.deletes if counts(i)]
    ids = [*(upserts.ids[place] for place in places), *updates, *deletes]
    documents = (upserts.documents[place] for place in places)
    vector_bytes = upserts.embeddings.nbytes // max(len(upserts), 1)
    metadatas = (*(upserts.metadatas[place] for place in places), *updates.values())
    return (
        _RECORD_BYTES * len(ids)
        + _PER_ID_BYTE * sum(len(each.encode()) for each in ids)
        + _PER_DOCUMENT_BYTE * sum(len(each.encode()) for each in documents if each)
        + _PER_VECTOR_BYTE * vector_bytes * len(places)
        + sum(map(_metadata_bytes, metadatas))
    )


def _metadata_bytes(metadata: Mapping[str, MetadataValue | None]) -> int:
    values = sum(len(key) + _size_of(value) for key, value in metadata.items())
    return _KEY_BYTES * len(metadata) + _PER_VALUE_BYTE * values


def _size_of(value: MetadataValue | None) -> int:
    if isinstance(value, str):
        return len(value.encode())
    # An element of a list has a row of its own.
    return sum(_KEY_BYTES + _size_of(each) for each in value) if isinstance(value, list) else 8
