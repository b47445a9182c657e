"""What every ledger promises; inherit it and give a ``ledger`` fixture."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chromaseal import keys
from chromaseal.errors import Conflict
from chromaseal.run.ledger import Ledger
from chromaseal.run.model import Run, RunPart, RunState

NOW = "2026-11-23T12:00:00.000000Z"
# More than anybody should have to wait for; whoever is told does not wait that long.
PATIENCE_S = 30.0
A_MOMENT_S = 0.05


def pending_run(run_id: str, *, second: int = 0, collections: tuple[str, ...] = ("lines",)) -> Run:
    """Make a run that waits."""
    part = RunPart(RunState.PENDING, keys.delta("lines", "any", ".parquet"), 10, 2)
    created_at = f"2026-11-23T11:00:{second:02d}.000000Z"
    return Run(run_id, created_at, dict.fromkeys(collections, part), {"image_id": run_id})


class LedgerContract:
    """Tests for one implementation; ``ledger`` is an empty one.

    Attributes:
        MOVES: how often runs are moved by several at once.
        THOUSANDS: ids that are moved at once.
        ALL_OR_NONE: whether of runs that others move too, a move moves all or none.
    """

    MOVES = 40
    THOUSANDS = 12_000
    ALL_OR_NONE = True

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
        assert [run.run_id for run in ledger.waiting("lines", limit=2)] == ["d", "c"]

    def test_a_cancelled_run_does_not_wait(self, ledger: Ledger) -> None:
        """Nobody who knows of waiting runs only takes it; it is found, and can be put back."""
        ledger.add(pending_run("a"))
        waits, cancelled = [RunState.PENDING, RunState.MERGING], [RunState.CANCELLED]
        ledger.move(["a"], "lines", states=waits, to=RunState.CANCELLED, at=NOW, error="why")
        assert ledger.waiting("lines") == []
        assert ledger.move(["a"], "lines", states=waits, to=RunState.MERGING, at=NOW) == 0
        (run,) = ledger.newest(state=RunState.CANCELLED)
        assert (run.parts["lines"].finished_at, run.parts["lines"].error) == (NOW, "why")
        with ledger.listen(["lines"]) as listener:
            ledger.move(["a"], "lines", states=cancelled, to=RunState.PENDING, at=NOW)
            assert listener.wait(PATIENCE_S)
        assert [run.run_id for run in ledger.waiting("lines")] == ["a"]

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
        assert ledger.bound_to() == ""
        ledger.bind("vault-a")
        ledger.bind("vault-a")
        with pytest.raises(Conflict):
            ledger.bind("vault-b")
        assert ledger.bound_to() == "vault-a"

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

    def test_keeps_many_parts_in_order(self, ledger: Ledger) -> None:
        """A list of runs is whole: every run once, with all of its parts."""
        names = ("lines", "rows", "words")
        runs = [pending_run(f"r{n:02d}", second=n, collections=names) for n in range(30)]
        for run in reversed(runs):
            ledger.add(run)
        assert ledger.waiting("rows") == runs
        assert ledger.newest(collection="words", state=RunState.PENDING) == runs[::-1]

    def test_runs_of_one_moment_come_by_id(self, ledger: Ledger) -> None:
        """Bytes decide, not a language's alphabet: everybody has to see the same order."""
        for name in ("b", "B", "a-1", "a1", "A", "a_1"):
            ledger.add(pending_run(name))
        expected = ["A", "B", "a-1", "a1", "a_1", "b"]
        assert [run.run_id for run in ledger.waiting("lines")] == expected
        assert [run.run_id for run in ledger.newest()] == expected[::-1]
        assert [run.run_id for run in ledger.with_prefix("", limit=9)] == expected

    @pytest.mark.parametrize("value", ["", "a'b\"c", "\x00", "\udc80", "Ä" * 5000, "%"])
    def test_any_attribute_is_kept_and_found(self, ledger: Ledger, value: str) -> None:
        """Whatever a text has in it, and however long it is."""
        run = replace(pending_run("a"), attributes={"image_id": value, "other": "x"})
        ledger.add(run)
        ledger.add(pending_run("b"))
        assert ledger.get("a") == run
        assert ledger.find("image_id", value) == [run]

    def test_a_reason_may_be_any_text(self, ledger: Ledger) -> None:
        """A message with a name in it that is no text must not keep a run from going back."""
        ledger.add(pending_run("a"))
        error = "no file a\x00b\udc80: Ä"
        states = [RunState.PENDING]
        moved = ledger.move(["a"], "lines", states=states, to=RunState.FAILED, at=NOW, error=error)
        run = ledger.get("a")
        assert run is not None
        assert (moved, run.parts["lines"].error) == (1, "no file ab\ufffd: Ä")

    def test_moves_thousands(self, ledger: Ledger) -> None:
        """However many ids are given, those that are there move, once each."""
        for number in range(20):
            ledger.add(pending_run(f"r{number}"))
        ids = [f"r{number}" for number in range(self.THOUSANDS)] * 2
        states = [RunState.PENDING]
        assert ledger.move(ids, "lines", states=states, to=RunState.MERGING, at=NOW) == 20
        assert ledger.move([], "lines", states=states, to=RunState.MERGING, at=NOW) == 0

    def test_movers_in_other_orders_wait_for_each_other(self, ledger: Ledger) -> None:
        """Two that move the same runs, one from each end, both come through, and count right."""
        ids = [f"r{number:03d}" for number in range(100)]
        for run_id in ids:
            ledger.add(pending_run(run_id))

        def move(number: int) -> int:
            order = ids if number % 2 else ids[::-1]
            there, back = [RunState.PENDING], [RunState.MERGING]
            if number % 3:
                there, back = back, there
            moved = ledger.move(order, "lines", states=there, to=back[0], at=NOW)
            return moved if back[0] is RunState.MERGING else -moved

        with ThreadPoolExecutor(8) as pool:
            moves = list(pool.map(move, range(self.MOVES)))
        if self.ALL_OR_NONE:
            assert {abs(moved) for moved in moves} <= {0, len(ids)}
        merging = sum(moves)
        assert len(ledger.newest(state=RunState.MERGING)) == merging
        assert ledger.counts("lines")[RunState.MERGING] == merging
        assert len(ledger.waiting("lines")) == len(ids)

    def test_counts_by_state(self, ledger: Ledger) -> None:
        """Each state has its number of parts, also when there are none."""
        for name in ("a", "b", "c"):
            ledger.add(pending_run(name, collections=("lines", "words")))
        ledger.move(["a"], "lines", states=[RunState.PENDING], to=RunState.FAILED, at=NOW)
        assert ledger.counts("lines") == {
            RunState.PENDING: 2,
            RunState.MERGING: 0,
            RunState.COMPLETED: 0,
            RunState.FAILED: 1,
            RunState.CANCELLED: 0,
        }
        assert set(ledger.counts("nothing").values()) == {0}

    def test_a_listener_hears_of_runs(self, ledger: Ledger) -> None:
        """Of those that were added or went back since it began, once."""
        ledger.add(pending_run("before"))
        with ledger.listen(["lines", "rows"]) as listener:
            assert not listener.wait(A_MOMENT_S)
            ledger.add(pending_run("a"))
            ledger.add(pending_run("b"))
            assert listener.wait(PATIENCE_S)
            # What came with the first may be told a second time, not for ever.
            listener.wait(A_MOMENT_S)
            assert not listener.wait(A_MOMENT_S)
            ledger.move(["a"], "lines", states=[RunState.PENDING], to=RunState.MERGING, at=NOW)
            assert not listener.wait(A_MOMENT_S)
            ledger.move(["a"], "lines", states=[RunState.MERGING], to=RunState.PENDING, at=NOW)
            assert listener.wait(PATIENCE_S)

    def test_a_listener_hears_of_its_collections_only(self, ledger: Ledger) -> None:
        """Neither other collections nor what changed nothing wake it."""
        ledger.add(pending_run("a"))
        with ledger.listen(["lines"]) as listener:
            ledger.add(pending_run("w", collections=("words",)))
            assert not ledger.add(pending_run("a"))
            ledger.move(["x"], "lines", states=[RunState.FAILED], to=RunState.PENDING, at=NOW)
            assert not listener.wait(A_MOMENT_S)

    def test_a_sleeping_listener_wakes(self, ledger: Ledger) -> None:
        """A run that is added while it waits ends the wait, and so does the wish to stop."""
        stop = threading.Event()
        with ledger.listen(["lines"]) as listener, ThreadPoolExecutor(1) as pool:
            for begin, expected in (
                (lambda: ledger.add(pending_run("a")), True),
                (stop.set, False),
            ):
                waiting = pool.submit(listener.wait, PATIENCE_S * 2, stop=stop)
                begin()
                assert waiting.result(PATIENCE_S) is expected
