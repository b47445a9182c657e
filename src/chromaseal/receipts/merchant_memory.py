"""What earlier receipts teach about merchants, as a question and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chromaseal.record import Metadata

QueryKind: TypeAlias = Literal["phone", "address", "text"]


@dataclass(frozen=True, slots=True, eq=False)
class MemoryQuery:
    """One question to the memory.

    Attributes:
        kind: which evidence the row holds.
        text: the row's text.
        vector: float32, shape (dimension,): the row's vector in its record's form.
        phone: for the kind ``phone`` its digits, else "".
    """

    kind: QueryKind
    text: str
    vector: NDArray[np.float32]
    phone: str = ""


@dataclass(frozen=True, slots=True)
class MemoryCandidate:
    """A row record of another receipt.

    Attributes:
        id: the record's id.
        merchant_name: as stored; "" when unknown.
        image_id: the other receipt's image.
        receipt_id: which receipt on it.
        text: the record's document.
        distance: squared Euclidean distance of the vectors, 0..4 for unit vectors.
        metadata: the record's metadata.
    """

    id: str
    merchant_name: str
    image_id: str
    receipt_id: int
    text: str
    distance: float
    metadata: Metadata = field(default_factory=dict)

    @property
    def similarity(self) -> float:
        """Give the cosine, 0..1, for unit vectors."""
        return max(0.0, 1.0 - self.distance / 2)


class MerchantMemory(Protocol):
    """The published ``lines`` collection, asked for rows like this receipt's."""

    def nearest(
        self, queries: Sequence[MemoryQuery], limit: int
    ) -> Sequence[Sequence[MemoryCandidate]]:
        """Find stored rows for each query.

        Args:
            queries: any number, in one call, so that one index search serves them all.
            limit: the most candidates per query that nearness may give.

        Returns:
            Per query the rows nearest to its vector; for one with a phone also the rows whose
            metadata ``normalized_phone`` equals it.
        """
        ...
