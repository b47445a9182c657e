"""What a ledger lacks, decided from plain data."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from chromaseal.run.model import Run, RunPart, RunState
from chromaseal.sweep.plan import Contained, Holding, Move, StoredDelta, plan_ledger

NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
BEGUN = "2026-11-23T00:00:00.000000Z"
STORED = StoredDelta("key", 10, 2, BEGUN, {"image_id": "7"})
IN_ONE = Contained("one", BEGUN, BEGUN)


def known(state: RunState, version_id: str = "") -> Run:
    """Give a run of one part that the ledger has."""
    return Run("a", BEGUN, {"notes": RunPart(state, "key", 10, 2, version_id=version_id)}, {})


def test_a_run_is_put_together_from_its_collections() -> None:
    """A part in a version, one that waits, one that cannot be read: one run."""
    vault = {
        "lines": Holding({"a": STORED}, {"a": IN_ONE}),
        "notes": Holding({"a": STORED}),
        "words": Holding({"a": StoredDelta("key", 10, problem="torn")}),
    }
    (run,) = plan_ledger([], vault, now=NOW).add
    assert (run.created_at, run.attributes) == (BEGUN, {"image_id": "7"})
    assert {name: (p.state, p.version_id, p.error) for name, p in run.parts.items()} == {
        "lines": (RunState.COMPLETED, "one", ""),
        "notes": (RunState.PENDING, "", ""),
        "words": (RunState.FAILED, "", "torn"),
    }


def test_a_version_is_believed_without_its_delta() -> None:
    """Garbage collection may have taken it, and it may have rotted since."""
    for stored in ({}, {"a": StoredDelta("key", problem="torn")}):
        (run,) = plan_ledger([], {"notes": Holding(stored, {"a": IN_ONE})}, now=NOW).add
        assert run.parts["notes"].state is RunState.COMPLETED
        assert run.parts["notes"].error == ""


def test_the_vault_is_right() -> None:
    """Whatever the ledger says of a run that a version has, or that none has."""
    having, lacking = Holding({"a": STORED}, {"a": IN_ONE}), Holding({"a": STORED})
    for state in (RunState.PENDING, RunState.MERGING, RunState.FAILED):
        move = Move("a", "notes", state, RunState.COMPLETED, "one")
        assert plan_ledger([known(state)], {"notes": having}, now=NOW).moves == (move,)
        plan = plan_ledger([known(state)], {"notes": lacking}, now=NOW)
        assert (plan.moves, plan.right) == ((), 1)
    done = RunState.COMPLETED
    assert plan_ledger([known(done, "one")], {"notes": having}, now=NOW).right == 1
    (other,) = plan_ledger([known(done, "two")], {"notes": having}, now=NOW).moves
    assert other.version_id == "one"
    (lost,) = plan_ledger([known(done, "one")], {"notes": lacking}, now=NOW).moves
    assert (lost.to, lost.error) == (RunState.PENDING, "the version that had it is lost")


def test_what_is_not_known_is_not_decided() -> None:
    """An unreadable history changes nothing, and a run of two collections is not cut in half."""
    vault = {
        "lines": Holding({"a": STORED, "b": STORED}, unreadable="torn"),
        "notes": Holding({"a": STORED}),
    }
    plan = plan_ledger([], vault, now=NOW)
    assert (plan.add, len(plan.left)) == ((), 2)
    plan = plan_ledger([known(RunState.COMPLETED)], {"notes": Holding({}, unreadable="x")}, now=NOW)
    assert (plan.moves, plan.right) == ((), 1)


def test_half_a_run_is_left_to_its_writer() -> None:
    """As a run of one collection it would refuse the whole; a version that has it is believed."""
    half = replace(STORED, collections=frozenset({"lines", "notes"}))
    plan = plan_ledger([], {"notes": Holding({"a": half}), "lines": Holding({})}, now=NOW)
    assert (plan.add, plan.moves) == ((), ())
    assert "none for lines: its writer died" in plan.left[0]
    whole = {"notes": Holding({"a": half}), "lines": Holding({"a": half})}
    (run,) = plan_ledger([], whole, now=NOW).add
    assert run.parts.keys() == {"lines", "notes"}
    (run,) = plan_ledger([], {"notes": Holding({"a": half}, {"a": IN_ONE})}, now=NOW).add
    assert run.parts["notes"].state is RunState.COMPLETED


def test_a_run_keeps_the_parts_it_was_written_with() -> None:
    """A delta beside them is told, not added."""
    vault = {"notes": Holding({"a": STORED}), "lines": Holding({"a": STORED})}
    plan = plan_ledger([known(RunState.PENDING)], vault, now=NOW)
    assert (plan.add, plan.right) == ((), 1)
    assert "written without" in plan.left[0]


def test_a_clock_that_was_ahead_hides_no_run() -> None:
    """Whoever makes a lost ledger anew waits for no writer, nor for the time at which one was."""
    ahead = StoredDelta("key", 10, 2, "2026-11-24T00:10:00.000000Z")
    assert len(plan_ledger([], {"notes": Holding({"a": ahead})}, now=NOW).add) == 1


def test_a_young_run_is_left_to_its_writer() -> None:
    """Unless a version has it, or nobody can tell its age."""
    day = dt.timedelta(days=2)
    for holding, added in (
        (Holding({"a": STORED}), 0),
        (Holding({"a": STORED}, {"a": IN_ONE}), 1),
        (Holding({"a": StoredDelta("key", created_at="yesterday")}), 1),
    ):
        assert len(plan_ledger([], {"notes": holding}, now=NOW, settled=day).add) == added


def test_what_is_marked_as_cancelled_does_not_wait() -> None:
    """Unless a version has it; and a ledger that calls it cancelled without a mark is believed."""
    marked = Holding({"a": STORED}, cancelled=frozenset("a"))
    (run,) = plan_ledger([], {"notes": marked}, now=NOW).add
    assert run.parts["notes"].state is RunState.CANCELLED
    for state in set(RunState) - {RunState.CANCELLED}:
        (move,) = plan_ledger([known(state)], {"notes": marked}, now=NOW).moves
        assert (move.state, move.to) == (state, RunState.CANCELLED)
    for holding in (marked, Holding({"a": STORED})):
        plan = plan_ledger([known(RunState.CANCELLED)], {"notes": holding}, now=NOW)
        assert (plan.moves, plan.right) == ((), 1)
    merged = Holding({"a": STORED}, {"a": IN_ONE}, frozenset("a"))
    (run,) = plan_ledger([], {"notes": merged}, now=NOW).add
    assert run.parts["notes"].state is RunState.COMPLETED
    (move,) = plan_ledger([known(RunState.CANCELLED)], {"notes": merged}, now=NOW).moves
    assert move.to is RunState.COMPLETED
