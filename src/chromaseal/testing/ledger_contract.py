"""What every ledger promises; inherit it and give a ``ledger`` fixture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from chromaseal import keys
from chromaseal.errors import Conflict
from chromaseal.run.ledger import Ledger
from chromaseal.run.model import Run, RunPart, RunState

NOW = "2026-11-23T12:00:00.000000Z"


def pending_run(run_id: str, *, second: int = 0, collections: tuple[str, ...] = ("lines",)) -> Run:
    """Make a run that waits."""
    part = RunPart(RunState.PENDING, keys.delta("lines", "any", ".parquet"), 10, 2)
    created_at = f"2026-11-23T11:00:{second:02d}.000000Z"
    return Run(run_id, created_at, dict.fromkeys(collections, part), {"image_id": run_id})


class LedgerContract:
    """Tests for one implementation; ``ledger`` is an empty one."""

    @pytest.fixture
    def ledger(self) -> Ledger:
        """Give the ledger under test, empty."""
        raise NotImplementedError

    def test_keeps_a_run_as_it_was_added(self, ledger: Ledger) -> None:
        """What was added is given back, whole."""
        run = pending_run("a", collections=("lines", "words"))
        assert ledger.add(run)
        assert ledger.get("a") == run
        assert ledger.get("b") is None

    def test_adding_again_changes_nothing(self, ledger: Ledger) -> None:
        """A repeated message about a run is harmless, even after the run went on."""
        ledger.add(pending_run("a"))
        ledger.move(["a"], "lines", states=[RunState.PENDING], to=RunState.MERGING, at=NOW)
        before = ledger.get("a")
        assert not ledger.add(pending_run("a", second=9))
        assert ledger.get("a") == before

    def test_waiting_runs_come_oldest_first(self, ledger: Ledger) -> None:
        """PENDING and MERGING wait; COMPLETED and FAILED do not; other collections neither."""
        for number, name in enumerate(["d", "c", "b", "a"]):
            ledger.add(pending_run(name, second=number))
        ledger.add(pending_run("w", collections=("words",)))
        ledger.move(["c"], "lines", states=[RunState.PENDING], to=RunState.MERGING, at=NOW)
        ledger.move(["b"], "lines", states=[RunState.PENDING], to=RunState.FAILED, at=NOW)
        assert [run.run_id for run in ledger.waiting("lines")] == ["d", "c", "a"]

    def test_moves_only_from_the_named_states(self, ledger: Ledger) -> None:
        """A late move finds nothing to move."""
        ledger.add(pending_run("a", collections=("lines", "words")))
        done = {"states": [RunState.PENDING], "to": RunState.COMPLETED, "at": NOW}
        assert ledger.move(["a", "x"], "lines", version_id="v", **done) == 1  # type: ignore[arg-type]
        assert ledger.move(["a"], "lines", version_id="w", **done) == 0  # type: ignore[arg-type]
        run = ledger.get("a")
        assert run is not None
        assert run.parts["lines"].version_id == "v"
        assert run.parts["lines"].finished_at == NOW
        assert run.parts["words"].state is RunState.PENDING

    def test_counts_attempts_and_keeps_the_reason(self, ledger: Ledger) -> None:
        """Every begin of a merge counts; going back keeps why."""
        ledger.add(pending_run("a"))
        for _ in range(2):
            ledger.move(["a"], "lines", states=[RunState.PENDING], to=RunState.MERGING, at=NOW)
            ledger.move(
                ["a"],
                "lines",
                states=[RunState.MERGING],
                to=RunState.PENDING,
                at=NOW,
                error="disk full",
            )
        run = ledger.get("a")
        assert run is not None
        part = run.parts["lines"]
        assert (part.attempts, part.error, part.started_at) == (2, "disk full", NOW)

    def test_lists_newest_first(self, ledger: Ledger) -> None:
        """A listing is filtered, newest first, and limited."""
        for number in range(5):
            ledger.add(pending_run(f"r{number}", second=number))
        ledger.move(["r1"], "lines", states=[RunState.PENDING], to=RunState.FAILED, at=NOW)
        assert [run.run_id for run in ledger.newest(limit=2)] == ["r4", "r3"]
        assert [run.run_id for run in ledger.newest(state=RunState.FAILED)] == ["r1"]
        assert ledger.newest(collection="words") == []

    def test_finds_by_attribute(self, ledger: Ledger) -> None:
        """A run is found by what its writer wanted remembered."""
        ledger.add(pending_run("a"))
        ledger.add(pending_run("b"))
        assert [run.run_id for run in ledger.find("image_id", "b")] == ["b"]
        assert ledger.find("image_id", "c") == []
        assert ledger.find("other", "b") == []

    def test_belongs_to_one_vault(self, ledger: Ledger) -> None:
        """Runs of one vault are never taken for those of another."""
        ledger.bind("vault-a")
        ledger.bind("vault-a")
        with pytest.raises(Conflict):
            ledger.bind("vault-b")

    def test_finds_by_prefix(self, ledger: Ledger) -> None:
        """A shortened id gives the runs that it can stand for, at most as many as asked."""
        for name in ("abc1", "abc2", "abc3", "b_%"):
            ledger.add(pending_run(name))
        assert [run.run_id for run in ledger.with_prefix("abc")] == ["abc1", "abc2"]
        assert [run.run_id for run in ledger.with_prefix("abc3")] == ["abc3"]
        assert ledger.with_prefix("%") == []

    def test_one_of_many_moves(self, ledger: Ledger) -> None:
        """Of many that move a run at once exactly one does."""
        ledger.add(pending_run("a"))

        def move(_: int) -> int:
            return ledger.move(
                ["a"], "lines", states=[RunState.PENDING], to=RunState.MERGING, at=NOW
            )

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(move, range(8))) == 1
