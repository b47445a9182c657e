"""A multiset hash over records: equal sets have equal sums, in whatever order they came.

LtHash (Lewi, Kim, Maykov, Weis: "Securing Update Propagation with Homomorphic Hashing",
2019): each element becomes 1,024 lanes of 16 bits by BLAKE3 in its extendable form, and lanes
add modulo 2^16. Adding and removing commute, so what was there, plus what came, minus what was
replaced or deleted, must equal what is there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

LANES = 1024
_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class MultisetHash:
    """The sum over a multiset of digests; uint16, shape (1024,), little endian."""

    lanes: NDArray[np.uint16]

    def __add__(self, other: MultisetHash) -> MultisetHash:
        """Sum of both multisets."""
        return MultisetHash(self.lanes + other.lanes)

    def __sub__(self, other: MultisetHash) -> MultisetHash:
        """What is left of this multiset without the other."""
        return MultisetHash(self.lanes - other.lanes)

    def __eq__(self, other: object) -> bool:
        """Whether both sums are equal."""
        return isinstance(other, MultisetHash) and bool(np.array_equal(self.lanes, other.lanes))

    __hash__ = None  # type: ignore[assignment]

    def to_text(self) -> str:
        """Write the sum as base64."""
        return base64.b64encode(self.lanes.astype("<u2").tobytes()).decode("ascii")


EMPTY = MultisetHash(np.zeros(LANES, dtype=np.uint16))


def of_digests(digests: Iterable[bytes]) -> MultisetHash:
    """Sum over elements that are given by their digests."""
    total = np.zeros(LANES, dtype=np.uint16)
    rest = iter(digests)
    # Many at a time: adding them one by one takes longer than making them.
    while batch := list(islice(rest, _BATCH)):
        raw = b"".join(blake3(digest).digest(length=2 * LANES) for digest in batch)
        lanes = np.frombuffer(raw, dtype="<u2").reshape(-1, LANES)
        total += lanes.sum(axis=0, dtype=np.uint16)
    return MultisetHash(total)


def from_text(text: str) -> MultisetHash:
    """Read what ``to_text`` wrote.

    Raises:
        ValueError: the text is no such sum.
    """
    raw = base64.b64decode(text, validate=True)
    if len(raw) != 2 * LANES:
        raise ValueError(f"a multiset hash has {2 * LANES} bytes, this one {len(raw)}")
    return MultisetHash(np.frombuffer(raw, dtype="<u2").astype(np.uint16))
