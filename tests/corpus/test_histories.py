"""Healthy directories of many different histories raise no alarm, at any level.

Eight of them by default; ``make test-whole`` takes two hundred.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chromaseal.adapters.chroma.inspector import inspect
from chromaseal.adapters.chroma.remains import read_remains
from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.repair.judgement import judge
from chromaseal.seal.checks import records
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


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Give the directories, each with a history of its own."""
    return build_histories(tmp_path_factory.mktemp("histories"), 0, COUNT)


@pytest.mark.slow
@pytest.mark.timeout(6 * COUNT)
def test_healthy_histories_raise_no_alarm(directories: list[Path], pool: SandboxPool) -> None:
    """Several collections, deleted and renamed ones, all types, all distances, any threshold."""
    alarms = []
    for directory in directories:
        verdict = examine(
            directory,
            Level.DEEP,
            sandbox=pool,
            open_files=NobodyHasOpen(),
            clock=SystemClock(),
        )
        alarms += [(directory.name, f.check, f.evidence) for f in verdict.failed]
    assert alarms == []


@pytest.mark.slow
@pytest.mark.timeout(6 * COUNT)
def test_nothing_of_a_healthy_history_is_in_doubt(directories: list[Path], tmp_path: Path) -> None:
    """What repair and salvage read of a whole directory are all of its records, and they say so."""
    for directory in directories:
        copy = shutil.copytree(directory, tmp_path / directory.name)
        judgement = judge(read_remains(copy))
        assert judgement.is_complete, directory.name
        found = {
            each.remains.collection_id: {record.record_id: record for record in each.whole}
            for each in judgement.collections
        }
        for collection in inspect(directory, deep=True).collections:
            believed = found.pop(collection.collection_id)
            for record in records(collection):
                other = believed.pop(record.id)
                assert other.vector is not None
                assert np.array_equal(record.embedding, other.vector)
                assert (record.document, record.metadata) == (other.document, other.metadata)
            assert not believed
        assert not found
