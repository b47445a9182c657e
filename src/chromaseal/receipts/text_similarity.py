"""How alike two texts are, as the receipts front asks for it."""

from __future__ import annotations

from typing import Protocol


class TextSimilarity(Protocol):
    """Compares short texts that OCR may have garbled."""

    def ratio(self, one: str, other: str) -> float:
        """Give how much of both texts agrees, 0..1; 1 only for equal texts."""
        ...

    def partial_ratio(self, part: str, whole: str) -> float:
        """Give how well ``part`` agrees with the most similar stretch of ``whole``, 0..1."""
        ...
