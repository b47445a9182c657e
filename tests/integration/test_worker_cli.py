"""Workers as processes: real signals, real deaths, real pauses, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chromaseal.adapters.linux.process_name import own_name
from chromaseal.composition.engine import open_vault
from chromaseal.errors import Unavailable
from chromaseal.ids import SystemIds
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.command_line import Answer, begin, chromaseal
from chromaseal.testing.prometheus import parse
from chromaseal.testing.records import record, upserts
from chromaseal.testing.waiting import wait_until
from chromaseal.vault import Vault

PATIENCE_S = 90.0
LEASE_S = 2.0
MERGED_RECORDS = 2_000


class Program:
    """A worker, or another program that stays, in a process of its own, and what it says."""

    def __init__(self, *arguments: str, cache: Path, command: str = "worker") -> None:
        self.process = begin(command, *arguments, "--json", cache=cache)
        self.said: list[dict[str, Any]] = []
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait until it says something of a kind; give that."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            said = self._lines.get(timeout=end_s - time.monotonic())
            assert said is not None, f"it ended without {event}: {self.said}"
            self.said.append(said)
            if said["event"] == event:
                return said

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait until it has ended; give its exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join()
        while (said := self._lines.get()) is not None:
            self.said.append(said)
        return code

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def only(self, event: str) -> list[dict[str, Any]]:
        """Give what it has said of one kind."""
        return [said for said in self.said if said["event"] == event]


@dataclass
class Fleet:
    """A vault, and workers on it that end with the test."""

    folder: Path
    ledger: str
    held: ExitStack
    vault: Vault
    records: int = 0

    @property
    def place(self) -> tuple[str, ...]:
        """Give the options that name vault and ledger."""
        return ("--vault", str(self.folder / "vault"), "--ledger", self.ledger)

    def worker(self, *arguments: str, cache: str = "cache") -> Program:
        """Start one; machines that share nothing have caches of their own."""
        lease = ("--lease-s", str(LEASE_S), "--poll-s", "1")
        program = Program(*self.place, *lease, *arguments, cache=self.folder / cache)
        self.held.callback(program.close)
        program.wait_for("started")
        return program

    def run(self, *arguments: str) -> Answer:
        """Run another command to its end."""
        return chromaseal(*arguments, *self.place, "--json", cache=self.folder / "cache")

    def add(self, *numbers: int, records: int = 1) -> None:
        """Let runs of so many records each wait."""
        for number in numbers:
            name = f"r{number:03d}"
            rows = (record(f"{name}-{n}", number) for n in range(records))
            self.vault.write({"notes": upserts(*rows)}, run_id=name)
        self.records += records * len(numbers)

    def count(self, state: RunState) -> int:
        """Count runs in a state."""
        return self.vault.parts.ledger.counts("notes")[state]

    def versions(self) -> list[list[str]]:
        """Give the runs of each version, the oldest first; each follows from the one before."""
        found = [entry.version for entry in self.vault.log("notes")][::-1]
        assert [version.number for version in found] == list(range(1, len(found) + 1))
        return [sorted(run_id for run_id, _ in version.runs) for version in found]

    def check(self, runs: int) -> None:
        """Every run is in one version, the records are all there, and the ledger knows."""
        merged = sorted(run_id for version in self.versions() for run_id in version)
        assert merged == [f"r{number:03d}" for number in range(runs)]
        with self.vault.reader("notes") as reader:
            assert reader.count() == self.records
        assert self.count(RunState.COMPLETED) == runs


@pytest.fixture
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """Give an empty vault with a ledger of the kind that a test names."""
    ledger = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    if request.param == "postgres":
        ledger = request.getfixturevalue("postgres_url")
    settings = Settings((tmp_path / "vault").as_uri(), ledger, tmp_path / "cache")
    with ExitStack() as held:
        vault = held.enter_context(open_vault(settings))
        yield Fleet(tmp_path, ledger, held, vault)


def begin_merging(fleet: Fleet, runs: int, *arguments: str) -> Program:
    """Give a worker that is at its first merge."""
    # Enough that the merge is still under way when a signal comes.
    fleet.add(*range(runs), records=MERGED_RECORDS // runs)
    worker = fleet.worker(*arguments)
    wait_until(lambda: fleet.count(RunState.MERGING) == runs)
    return worker


@pytest.mark.slow
def test_a_sweep_finds_what_no_message_announced(tmp_path: Path) -> None:
    """Runs that a ledger has lost are found, merged, and not merged again."""
    where, lost = (tmp_path / "vault").as_uri(), f"sqlite:///{tmp_path / 'lost.sqlite'}"
    # Long ago: nobody is still writing them.
    with open_vault(Settings(where, lost, tmp_path / "cache"), clock=ManualClock()) as vault:
        for name in ("a", "b"):
            vault.write({"notes": upserts(record(name, 1))}, run_id=name)
    place = ("--vault", str(tmp_path / "vault"), "--ledger", str(tmp_path / "new.sqlite"))
    once = ("worker", *place, "--once", "--json")
    done = chromaseal(*once, cache=tmp_path / "cache")
    assert done.exit_code == 0
    assert done.only("swept")[0]["added"] == 2
    assert sorted(done.only("compaction")[0]["merged"]) == ["a", "b"]
    again = chromaseal(*once, cache=tmp_path / "cache")
    assert again.exit_code == 0
    assert not again.only("swept")
    assert not again.only("compaction")


@pytest.mark.slow
@pytest.mark.parametrize("fleet", ["sqlite"], indirect=True)
def test_a_killed_workers_runs_are_taken_over(fleet: Fleet) -> None:
    """Killed in the middle of a merge: the next one brings every run in, once."""
    first = begin_merging(fleet, 20)
    first.send(signal.SIGKILL)
    second = fleet.worker(cache="other")
    assert first.end() == -signal.SIGKILL
    assert len(second.wait_for("compaction")["merged"]) == 20
    fleet.add(20)
    second.wait_for("compaction")
    second.send(signal.SIGTERM)
    assert second.end() == 0
    fleet.check(21)


@pytest.mark.slow
@pytest.mark.parametrize("fleet", ["postgres"], indirect=True)
def test_a_worker_that_slept_publishes_over_nobody(fleet: Fleet) -> None:
    """Stopped for longer than its lease, in the middle of a merge: its runs are in the others'."""
    first = begin_merging(fleet, 20)
    first.send(signal.SIGSTOP)
    stopped_s = time.monotonic()
    second = fleet.worker(cache="other")
    second.wait_for("compaction")
    assert time.monotonic() - stopped_s >= LEASE_S / 2
    fleet.add(20)
    second.wait_for("compaction")
    before = fleet.versions()
    assert [len(version) for version in before] == [20, 1]
    first.send(signal.SIGCONT)
    fleet.add(21)
    # Whichever of the two takes it.
    wait_until(lambda: fleet.count(RunState.COMPLETED) == 22)
    for worker in (first, second):
        worker.send(signal.SIGTERM)
        assert worker.end() == 0
    assert fleet.versions()[:2] == before
    assert not [done for done in first.only("compaction") if done["merged"][:1] == ["r000"]]
    fleet.check(22)


@pytest.mark.slow
@pytest.mark.parametrize("fleet", ["sqlite"], indirect=True)
def test_a_backlog_comes_into_one_version(fleet: Fleet) -> None:
    """Several hundred runs, without a word about the limit but that it falls behind."""
    fleet.add(*range(300))
    worker = fleet.worker("--once", "--behind", "100")
    assert worker.end() == 0
    assert [len(version) for version in fleet.versions()] == [300]
    assert worker.only("behind") == [{"event": "behind", "collection": "notes", "runs": 300}]
    assert worker.only("caught-up")
    fleet.check(300)


@pytest.mark.slow
@pytest.mark.parametrize("fleet", ["sqlite"], indirect=True)
def test_what_is_under_way_is_finished_or_given_back(fleet: Fleet) -> None:
    """After SIGTERM; the exit code is 0 both times, and no lease is left."""
    hasty = begin_merging(fleet, 5, "--grace-s", "0")
    hasty.send(signal.SIGTERM)
    assert hasty.end() == 0
    assert (fleet.count(RunState.PENDING), fleet.count(RunState.MERGING)) == (5, 0)
    assert hasty.only("given-back")
    assert not fleet.vault.has_version("notes")
    assert fleet.vault.parts.leases.holder("notes") is None
    patient = fleet.worker()
    wait_until(lambda: fleet.count(RunState.MERGING) == 5)
    patient.send(signal.SIGINT)
    assert patient.end() == 0
    assert patient.said[-1] == {"event": "stopped"}
    assert patient.only("compaction")
    assert fleet.vault.parts.leases.holder("notes") is None
    fleet.check(5)


@pytest.mark.slow
@pytest.mark.parametrize("fleet", ["sqlite"], indirect=True)
def test_a_second_signal_ends_it_at_once(fleet: Fleet) -> None:
    """Whatever it is at; repeating the work is for the next one, who need not wait."""
    worker = begin_merging(fleet, 5)
    worker.send(signal.SIGTERM)
    worker.send(signal.SIGINT)
    assert worker.end() == 130
    assert fleet.run("compact").exit_code == 0
    fleet.check(5)


def get(port: int, path: str) -> tuple[int, str]:
    """Ask for a page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.slow
@pytest.mark.parametrize("fleet", ["sqlite"], indirect=True)
def test_a_worker_says_how_it_is(fleet: Fleet) -> None:
    """Alive, ready, and what it has done, as Prometheus reads it."""
    fleet.add(0, 1)
    worker = fleet.worker("--port", "0")
    (listening,) = worker.only("listening")
    worker.wait_for("compaction")
    name = "chromaseal_worker_"
    wait_until(
        lambda: parse(get(listening["port"], "/metrics")[1])[f"{name}backlog_runs", "notes"] == 0
    )
    status, text = get(listening["port"], "/metrics")
    metrics = parse(text)
    assert status == 200
    assert metrics[f"{name}versions_total", "notes"] == 1
    assert metrics[f"{name}merged_runs_total", "notes"] == 2
    assert metrics[f"{name}failures_total", "notes"] == 0
    assert metrics[f"{name}last_success_timestamp_seconds", "notes"] > 1e9
    assert get(listening["port"], "/healthz")[0] == 200
    assert get(listening["port"], "/readyz")[0] == 200
    assert get(listening["port"], "/")[0] == 404
    refused = fleet.run("worker", "--once", "--port", str(listening["port"]))
    assert (refused.exit_code, refused.events[-1]["error"]) == (5, "cannot-listen")
    worker.send(signal.SIGTERM)
    assert worker.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize("fleet", ["sqlite"], indirect=True)
def test_compact_says_who_is_at_it(fleet: Fleet) -> None:
    """And leaves it, waits, or does not ask."""
    fleet.add(0)
    leases = fleet.vault.parts.leases
    lease = leases.acquire("notes", own_name(SystemIds()), duration_s=3600)
    assert lease is not None
    left = fleet.run("compact", "notes")
    assert (left.exit_code, left.events[-1]["error"]) == (5, "leased")
    assert f"process {os.getpid()} on" in left.events[-1]["message"]
    (said,) = left.only("left")
    assert (said["collection"], said["epoch"]) == ("notes", lease.epoch)
    assert fleet.count(RunState.PENDING) == 1
    assert fleet.run("compact", "--no-lease").exit_code == 0
    fleet.add(1)
    timer = threading.Timer(1.0, leases.release, (lease,))
    timer.start()
    assert fleet.run("compact", "notes", "--wait").exit_code == 0
    timer.join()
    fleet.check(2)


@pytest.mark.parametrize("fleet", ["sqlite"], indirect=True)
def test_a_store_that_comes_later_is_waited_for(fleet: Fleet) -> None:
    """By a worker and by a follower, who say so; who does one pass for cron ends instead."""
    fleet.add(0)
    pin = fleet.folder / "vault" / "_chromaseal" / "vault.json"
    there = pin.rename(fleet.folder / "aside")
    # A link to itself can no more be read than what is on a disk that is not there.
    pin.symlink_to(pin)
    assert fleet.run("worker", "--once").exit_code == Unavailable.exit_code
    worker = Program(*fleet.place, cache=fleet.folder / "cache")
    copies = str(fleet.folder / "copies")
    follower = Program(
        "notes", copies, *fleet.place, cache=fleet.folder / "cache", command="follow"
    )
    for each in (worker, follower):
        fleet.held.callback(each.close)
        assert each.wait_for("waiting")["error"] == "store-unavailable"
    there.replace(pin)
    assert worker.wait_for("compaction")["collection"] == "notes"
    assert follower.wait_for("moved")["version"] == 1
    for each in (worker, follower):
        each.send(signal.SIGTERM)
        assert each.end() == 0
