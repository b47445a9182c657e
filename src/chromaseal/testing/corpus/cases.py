"""Every damage on every base that it can happen to."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from chromaseal.testing.corpus import (
    database_damage,
    file_damage,
    index_damage,
    writer_damage,
)
from chromaseal.testing.corpus.case import Case, Damage
from chromaseal.testing.corpus.healthy import Base

DAMAGES: tuple[Damage, ...] = (
    *file_damage.DAMAGES,
    *database_damage.DAMAGES,
    *index_damage.DAMAGES,
    *writer_damage.DAMAGES,
)


def cases(bases: Iterable[Base]) -> list[Case]:
    """Give all cases, in an order that is always the same."""
    return [
        Case(damage, base, turn)
        for base in bases
        for damage in DAMAGES
        if damage.fits(base)
        for turn in range(damage.turns)
    ]


def one_of_each(every: Sequence[Case]) -> list[Case]:
    """Give one case of every damage that there is a case of, on one base after the other."""
    by_damage = [[case for case in every if case.damage is damage] for damage in DAMAGES]
    return [alike[number % len(alike)] for number, alike in enumerate(by_damage) if alike]


def damaged(case: Case, target: Path) -> str:
    """Make a case's directory; say what was done to it.

    Args:
        case: which one.
        target: must not exist.
    """
    shutil.copytree(case.base.newest, target)
    # The same chance for the same case, in whatever order cases are made.
    chance = np.random.default_rng(zlib.crc32(case.name.encode()))
    return case.damage.apply(target, case.base, chance)
