"""A reader: a private copy of one version, whole, open until it is closed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from chromaseal.record import Metadata, Record, Scalar
from chromaseal.snapshot.manifest import Version


@dataclass(frozen=True, slots=True)
class Hit:
    """One record that a search found.

    Attributes:
        id: of the record.
        document: its text, or None.
        metadata: its metadata.
        distance: as the collection measures it (squared for l2); None where the search was
            not by vector.
    """

    id: str
    document: str | None
    metadata: Metadata
    distance: float | None


class Reader(Protocol):
    """One version of a collection, for reading. Use as a context manager."""

    @property
    def version(self) -> Version:
        """Say which version this is."""
        ...

    def count(self) -> int:
        """Count the records."""
        ...

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """Give those of the named records that exist."""
        ...

    def records(self) -> Iterator[Record]:
        """Give every record, in pages, in an order of the reader's own."""
        ...

    def nearest(
        self,
        vectors: NDArray[np.float32],
        *,
        limit: int = 10,
        where: Mapping[str, Scalar] | None = None,
        contains: str = "",
    ) -> list[list[Hit]]:
        """Search by vector.

        Args:
            vectors: float32, shape (n, dimension).
            limit: hits per vector at most.
            where: metadata that a hit must have.
            contains: text that a hit's document must contain.

        Returns:
            Hits by vector, the nearest first.
        """
        ...

    def find(
        self,
        *,
        limit: int = 10,
        where: Mapping[str, Scalar] | None = None,
        contains: str = "",
    ) -> list[Hit]:
        """Search by metadata and exact text only."""
        ...

    def close(self) -> None:
        """Close the copy and remove it."""
        ...

    def __enter__(self) -> Self:
        """Give itself."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        ...
