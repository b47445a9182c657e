"""Text similarity by RapidFuzz: edit distance without substitutions, as a share of the lengths."""

from __future__ import annotations

from rapidfuzz import fuzz

_PERCENT = 100.0


class RapidFuzzSimilarity:
    """RapidFuzz's ``ratio`` and ``partial_ratio``, as fractions."""

    def ratio(self, one: str, other: str) -> float:
        """Give how much of both texts agrees, 0..1."""
        return fuzz.ratio(one, other) / _PERCENT

    def partial_ratio(self, part: str, whole: str) -> float:
        """Give how well ``part`` agrees with the most similar stretch of ``whole``, 0..1."""
        return fuzz.partial_ratio(part, whole) / _PERCENT
