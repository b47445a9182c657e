"""A repair gives exactly the records that were there, or refuses; salvage lists what it lost.

Every 43rd case by default; ``make test-whole`` takes all, on bases of both distances.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chromaseal.adapters.linux.exchange import exchange
from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.ids import SystemIds
from chromaseal.repair.equipment import Equipment
from chromaseal.testing.corpus.case import Case, Kind
from chromaseal.testing.corpus.cases import cases
from chromaseal.testing.corpus.healthy import Base, build_bases
from chromaseal.testing.corpus.mending import mend
from chromaseal.testing.corpus.outcome import Nobody
from chromaseal.testing.whole import WHOLE, part_of

RECORDS = 2_000
JOBS = ("verification", "questions", "replay", "salvage")
# Nothing on disk names the records of these: their log or their only table is gone.
NAMELESS = ("chroma.sqlite3 ",)
LEAST_REPAIRED = 0.4


@pytest.fixture(scope="module")
def equipment() -> Iterator[Equipment]:
    """Give what it takes, with two warm processes."""
    modules = tuple(f"chromaseal.adapters.chroma.{job}" for job in JOBS)
    sandbox = SandboxPool([ProcessSandbox(preload=modules) for _ in range(2)])
    yield Equipment(sandbox, Nobody(), SystemClock(), SystemIds(), exchange)
    sandbox.close()


@pytest.fixture(scope="module")
def harmful(bases: list[Base], tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Give the cases that do harm; those with the other distance where all are asked for."""
    more = build_bases(tmp_path_factory.mktemp("more"), RECORDS, ("cosine",)) if WHOLE else []
    every = cases([*bases, *more])
    return part_of((case for case in every if case.damage.kind is Kind.HARMFUL), 43)


@pytest.mark.slow
def test_repair_is_exact_or_refused(
    harmful: list[Case], tmp_path: Path, equipment: Equipment
) -> None:
    """No repair and no salvage passes off a record as what it was not, or forgets one."""
    mended = [mend(case, tmp_path, equipment) for case in harmful]
    different = [(m.case.name, m.said, m.different[:3]) for m in mended if m.different]
    assert different == []
    forgotten = [
        (m.case.name, m.said, m.unlisted[:3])
        for m in mended
        if m.unlisted and not m.case.name.startswith(NAMELESS)
    ]
    assert forgotten == []
    repaired = sum(m.repaired for m in mended)
    salvaged = sum(m.salvaged[0] for m in mended if not m.repaired)
    of = sum(m.salvaged[1] for m in mended if not m.repaired)
    print(f"{repaired} of {len(mended)} repaired; of the rest {salvaged} of {of} records salvaged")
    # A share says something of all cases; of a few it is a matter of which.
    assert repaired >= (LEAST_REPAIRED * len(mended) if WHOLE else 1)
