"""Chance out of a seed: the same ids, waits and choices whenever the seed is the same."""

from __future__ import annotations

import random
import uuid


def chance_of(*parts: object) -> random.Random:
    """Give chance that depends on these alone, whatever Python's hash of texts is."""
    return random.Random("/".join(map(str, parts)))


class SeededIds:
    """Ids and jitter that can be had again.

    Args:
        chance: where they come from.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def unique(self) -> str:
        """Make 32 hexadecimal digits."""
        return f"{self._chance.getrandbits(128):032x}"

    def run_id(self) -> str:
        """Make a UUID."""
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))

    def fraction(self) -> float:
        """Draw a uniform number in [0, 1)."""
        return self._chance.random()
