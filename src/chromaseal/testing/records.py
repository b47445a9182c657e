"""Records that are quick to make and easy to tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chromaseal.delta.model import Changes
from chromaseal.record import MetadataValue, Record

DIMENSION = 4


def vector_of(seed: int, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """Give a vector that depends on ``seed`` alone and has no zero in it."""
    return np.random.default_rng(seed).random(dimension, dtype=np.float32) + np.float32(0.1)


def record(
    record_id: str,
    seed: int = 0,
    *,
    document: str | None = "text",
    dimension: int = DIMENSION,
    **metadata: MetadataValue,
) -> Record:
    """Make a record."""
    return Record(record_id, vector_of(seed, dimension), document, metadata)


def upserts(*records: Record, deletes: Sequence[str] = ()) -> Changes:
    """Make changes of whole records, and ids to remove."""
    return Changes(upserts=records, deletes=deletes)
