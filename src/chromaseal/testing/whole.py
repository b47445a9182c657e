"""How much is run of tests that repeat one promise over many cases: a part, or all of it.

``make test`` runs a part that is always the same; ``make test-whole`` sets ``CHROMASEAL_WHOLE=1``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from typing import Final, TypeVar

_Case = TypeVar("_Case")

WHOLE: Final = bool(os.environ.get("CHROMASEAL_WHOLE"))


def part_of(cases: Iterable[_Case], every: int, *, start: int = 0) -> list[_Case]:
    """Give every so-manieth case from one on; all of them where all are asked for."""
    return list(cases) if WHOLE else list(islice(cases, start, None, every))
