"""One thing that can happen to a directory, and what is true of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import numpy as np

from chromaseal.testing.corpus.healthy import Base

# Damages a copy of a base with the chance that it is given, and says what it did.
Apply: TypeAlias = Callable[[Path, Base, np.random.Generator], str]


class Kind(StrEnum):
    """What is true of a damaged directory.

    ``harmful``: it is not what it was, and something on disk contradicts it. ``silent``: a value
    changed that nothing else on disk contradicts. ``harmless``: every record is there as it was,
    and every search finds what it found.
    """

    HARMFUL = "harmful"
    SILENT = "silent"
    HARMLESS = "harmless"


@dataclass(frozen=True, slots=True)
class Damage:
    """One kind of damage.

    Attributes:
        name: of the damage.
        apply: does it.
        kind: what is true of the directory afterwards; a fact about the files, not about what
            any check says.
        reason: why, where it is not harmful.
        fits: to which bases it can happen.
        turns: how often it is tried on each, with other chance.
    """

    name: str
    apply: Apply
    kind: Kind = Kind.HARMFUL
    reason: str = ""
    fits: Callable[[Base], bool] = lambda _: True
    turns: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """A damage that happens to a base."""

    damage: Damage
    base: Base
    turn: int

    @property
    def name(self) -> str:
        """Give a name that no other case has."""
        return f"{self.damage.name} / {self.base.name} / {self.turn}"
