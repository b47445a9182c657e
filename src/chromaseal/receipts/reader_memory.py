"""The memory of merchants: rows like a receipt's own, from the newest version of ``lines``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chromaseal.reader import Hit, Reader
from chromaseal.receipts.merchant_memory import MemoryCandidate, MemoryQuery

_OTHER_WITH_SAME_PHONE = 5


class ReaderMerchantMemory:
    """Asks an open reader of the ``lines`` collection.

    Args:
        reader: stays the caller's; one version for a whole ingest, so that what a receipt
            takes from memory does not depend on the order in which receipts finish.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def nearest(
        self, queries: Sequence[MemoryQuery], limit: int
    ) -> Sequence[Sequence[MemoryCandidate]]:
        """Find stored rows for each query."""
        if not queries:
            return []
        vectors = np.stack([query.vector for query in queries])
        found = self._reader.nearest(vectors, limit=limit)
        return [
            [_candidate(hit) for hit in hits] + self._with_phone(query)
            for query, hits in zip(queries, found, strict=True)
        ]

    def _with_phone(self, query: MemoryQuery) -> list[MemoryCandidate]:
        if not query.phone:
            return []
        where = {"normalized_phone": query.phone}
        hits = self._reader.find(limit=_OTHER_WITH_SAME_PHONE, where=where)
        found = self._reader.get([hit.id for hit in hits])
        return [
            _candidate(hit, float(np.square(found[hit.id].embedding - query.vector).sum()))
            for hit in hits
        ]


def _candidate(hit: Hit, distance: float | None = None) -> MemoryCandidate:
    metadata = hit.metadata
    receipt_id = metadata.get("receipt_id", 1)
    return MemoryCandidate(
        id=hit.id,
        merchant_name=str(metadata.get("merchant_name", "")),
        image_id=str(metadata.get("image_id", "")),
        receipt_id=receipt_id if isinstance(receipt_id, int) else 1,
        text=hit.document or "",
        distance=(hit.distance or 0.0) if distance is None else distance,
        metadata=metadata,
    )
