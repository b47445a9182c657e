"""Two workers on one ledger share the work: each run once, and hardly a step in vain."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.compaction.outcome import Compaction
from chromaseal.composition.engine import open_vault
from chromaseal.composition.fleet import terms_here
from chromaseal.fleet.journal import Journal
from chromaseal.fleet.lease_keeper import LeaseKeeper
from chromaseal.fleet.turn import Terms, compact_in_turn
from chromaseal.fleet.worker import Habits, Worker
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.testing.records import record, upserts
from chromaseal.testing.waiting import wait_until
from chromaseal.vault import Vault

PATIENCE_S = 60.0
RUNS = 24
COLLECTIONS = ("notes", "words")


@pytest.fixture(params=["sqlite", "postgres", "dynamodb"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Give a vault with a ledger of each kind."""
    ledger = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    if request.param != "sqlite":
        ledger = request.getfixturevalue(f"{request.param}_url")
    return Settings((tmp_path / "vault").as_uri(), ledger, tmp_path / "cache")


@pytest.fixture
def vaults(settings: Settings, sandbox: ProcessSandbox) -> Iterator[list[Vault]]:
    """Give the same vault as three processes would have it: two workers' and a writer's."""
    with ExitStack() as held:
        opened = [held.enter_context(open_vault(settings)) for _ in range(3)]
        for vault in opened:
            vault.parts = replace(vault.parts, sandbox=SandboxPool([sandbox]))
        yield opened


def test_workers_share_what_waits(vaults: list[Vault]) -> None:
    """While runs keep coming: all of them in versions, once, and no race is lost."""
    *working, writing = vaults
    done: list[Compaction] = []
    with ThreadPoolExecutor(2 * len(working)) as pool:
        workers = [started(vault, pool, done) for vault in working]
        running = [threading.Thread(target=worker.run) for worker in workers]
        for thread in running:
            thread.start()
        for number in range(RUNS):
            name = f"r{number:02d}"
            writing.write({c: upserts(record(name)) for c in COLLECTIONS}, run_id=name)
        wait_until(lambda: all(counted(writing, name) == RUNS for name in COLLECTIONS))
        for worker, thread in zip(workers, running, strict=True):
            worker.stop()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
            assert worker.failures == {}
    for name in COLLECTIONS:
        merged = [run_id for entry in writing.log(name) for run_id, _ in entry.version.runs]
        assert sorted(merged) == [f"r{number:02d}" for number in range(RUNS)]
        assert writing.parts.leases.holder(name) is None
    assert sum(each.lost_races for each in done) == 0
    # Far fewer versions than runs: what came during a merge went into the next one together.
    assert len([each for each in done if each.version]) <= RUNS


def started(vault: Vault, pool: ThreadPoolExecutor, done: list[Compaction]) -> Worker:
    """Give a worker as the command line makes it."""

    def told(name: str, /, **facts: Any) -> None:  # noqa: ANN401 - whatever it is told
        if name == "compacted":
            done.append(facts["compaction"])

    terms = terms_here(vault)
    return Worker(
        vault,
        lambda name, is_over: compact_in_turn(vault, [name], terms, is_over=is_over),
        pool,
        Journal(vault.parts.clock, told, behind_runs=500),
        habits=Habits(poll_s=1.0),
    )


def counted(vault: Vault, collection: str) -> int:
    """Count the runs that are in versions."""
    return vault.parts.ledger.counts(collection)[RunState.COMPLETED]


def test_a_lease_is_kept_for_as_long_as_the_work(vaults: list[Vault]) -> None:
    """Others ask all the time, and get it only afterwards."""
    mine, other = vaults[0].parts, vaults[1].parts
    terms: Terms = terms_here(vaults[0], lease_s=1.0)
    clock = mine.clock
    with LeaseKeeper(mine.leases, "notes", terms.owner, duration_s=1.0, clock=clock) as keeper:
        end_s = time.monotonic() + 2.5
        while time.monotonic() < end_s:
            assert other.leases.acquire("notes", "you", duration_s=60) is None
            time.sleep(0.05)
        assert keeper.held
    lease = other.leases.acquire("notes", "you", duration_s=60)
    assert lease is not None
    assert lease.epoch == 2
