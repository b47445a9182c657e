"""Healthy directories of many different histories raise no alarm, at any level.

Eight of them by default; ``make test-whole`` takes two hundred.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.seal.examine import examine
from chromaseal.seal.verdict import Level
from chromaseal.testing.corpus.histories import build_histories
from chromaseal.testing.machine import NobodyHasOpen
from chromaseal.testing.whole import WHOLE

COUNT = 200 if WHOLE else 8
MODULES = ("chromaseal.adapters.chroma.verification", "chromaseal.adapters.chroma.questions")


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    """Give two warm processes."""
    sandbox = SandboxPool([ProcessSandbox(preload=MODULES) for _ in range(2)])
    yield sandbox
    sandbox.close()


@pytest.mark.slow
@pytest.mark.timeout(6 * COUNT)
def test_healthy_histories_raise_no_alarm(tmp_path: Path, pool: SandboxPool) -> None:
    """Several collections, deleted and renamed ones, all types, all distances, any threshold."""
    alarms = []
    for directory in build_histories(tmp_path, 0, COUNT):
        verdict = examine(
            directory,
            Level.DEEP,
            sandbox=pool,
            open_files=NobodyHasOpen(),
            clock=SystemClock(),
        )
        alarms += [(directory.name, f.check, f.evidence) for f in verdict.failed]
    assert alarms == []
