"""Deltas -> what their records take on a disk at most, once ChromaDB has them; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def growth_bytes(deltas: Iterable[Delta]) -> int:
    """Estimate what records take at most, however well their deltas are compressed.

    Args:
        deltas: all that are merged at once.
    """
    return sum(map(_growth_of, deltas))


def _growth_of(delta: Delta) -> int:
    upserts = delta.upserts
    ids = sum(len(each.encode()) for each in (*upserts.ids, *delta.updates, *delta.deletes))
    documents = sum(len(each.encode()) for each in upserts.documents if each)
    metadatas = sum(map(_metadata_bytes, (*upserts.metadatas, *delta.updates.values())))
    return (
        _RECORD_BYTES * len(delta)
        + _PER_ID_BYTE * ids
        + _PER_DOCUMENT_BYTE * documents
        + _PER_VECTOR_BYTE * upserts.embeddings.nbytes
        + metadatas
    )


def _metadata_bytes(metadata: Mapping[str, MetadataValue | None]) -> int:
    values = sum(len(key) + _size_of(value) for key, value in metadata.items())
    return _KEY_BYTES * len(metadata) + _PER_VALUE_BYTE * values


def _size_of(value: MetadataValue | None) -> int:
    if isinstance(value, str):
        return len(value.encode())
    # An element of a list has a row of its own.
    return sum(_KEY_BYTES + _size_of(each) for each in value) if isinstance(value, list) else 8
