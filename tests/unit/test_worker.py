"""A worker finds what waits, shares it, bears failures, and ends when it is told to."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chromaseal.clock import SystemClock
from chromaseal.composition.engine import open_vault
from chromaseal.errors import Conflict, Damaged, Interrupted, Unavailable
from chromaseal.fleet.standing import Account
from chromaseal.fleet.turn import IsOver, Turns
from chromaseal.fleet.worker import Chore
from chromaseal.run.lease import Lease
from chromaseal.settings import Settings
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.records import record, upserts
from chromaseal.testing.worker_scene import POLL_S, DeafLedger, Scene, StillSandbox

PATIENCE_S = 30.0


@pytest.fixture
def sandbox() -> StillSandbox:
    """Give what runs nothing."""
    return StillSandbox()


@pytest.fixture
def scene(tmp_path: Path, sandbox: StillSandbox) -> Iterator[Scene]:
    """Give an empty vault in memory, whose time stands still until somebody sleeps."""
    settings = Settings("memory://", "memory://", tmp_path / "cache")
    with open_vault(settings, clock=ManualClock(), sandbox=sandbox) as vault:
        yield Scene(vault)


def test_all_that_waits_comes_into_one_turn(scene: Scene) -> None:
    """However many runs there are, in every collection."""
    scene.add(*(f"r{n:03d}" for n in range(300)))
    scene.add("w", collection="words")
    worker, journal = scene.worker()
    worker.run()
    assert scene.turns[0] == ("notes", tuple(f"r{n:03d}" for n in range(300)))
    assert scene.turns[1:] == [("words", ("w",))]
    account = journal.standing.accounts["notes"]
    assert (account.merged, account.backlog, account.succeeded_at_s > 0) == (300, 0, True)


def test_nothing_waits(scene: Scene) -> None:
    """Then nothing is done, in an empty vault too."""
    worker, _ = scene.worker()
    worker.run()
    assert scene.turns == []


def test_what_arrives_meanwhile_comes_next(scene: Scene) -> None:
    """And not only when the next run is announced."""
    late = iter([("b", "c"), ("d",)])

    def arrive(*_: object) -> None:
        scene.clock.sleep(1)

    def compact(name: str, is_over: IsOver) -> Turns:
        turns = Scene.compact(scene, name, is_over)
        scene.add(*next(late, ()))
        return turns

    scene.before = arrive
    scene.add("a")
    worker, _ = scene.worker()
    worker._compact = compact
    worker.run()
    assert scene.turns == [("notes", ("a",)), ("notes", ("b", "c")), ("notes", ("d",))]


def test_one_collections_failure_stops_no_other(scene: Scene) -> None:
    """It is said, counted, and what the others had is done."""

    def fail(name: str, _: IsOver) -> None:
        if name == "notes":
            raise Damaged("it is broken", kind="bad-layer", hint="mend it")

    scene.before = fail
    scene.add("a")
    scene.add("w", collection="words")
    worker, journal = scene.worker()
    worker.run()
    assert scene.turns == [("words", ("w",))]
    (said,) = scene.told("failed")
    assert (said["work"], said["error"], said["hint"]) == ("notes", "bad-layer", "mend it")
    assert list(worker.failures) == ["notes"]
    assert journal.standing.accounts["notes"].failures_in_a_row == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left"), ValueError("a mistake")])
def test_any_error_is_one_collections_own(scene: Scene, error: Exception) -> None:
    """Also one that nobody thought of."""

    def fail(name: str, _: IsOver) -> None:
        if name == "notes":
            raise error

    scene.before = fail
    scene.add("a")
    scene.add("w", collection="words")
    worker, _ = scene.worker()
    worker.run()
    assert scene.turns == [("words", ("w",))]
    assert scene.told("failed")[0]["error"] == type(error).__name__


def test_failures_are_tried_again_ever_later(scene: Scene) -> None:
    """With rests that double, give or take a half; a success makes them short again."""
    scene.add("a")
    tried_s: list[float] = []

    def fail(*_: object) -> None:
        tried_s.append(scene.clock.monotonic_s())
        if len(tried_s) < 8:
            raise Unavailable("no answer", kind="store-unavailable")
        worker.stop()

    scene.before = fail
    worker, journal = scene.worker(once=False)
    worker.run()
    rests = [after - before for before, after in itertools.pairwise(tried_s)]
    for number, rest_s in enumerate(rests):
        assert 2**number * 0.5 <= rest_s <= 2**number * 1.5 + 1, rests
    assert scene.turns == [("notes", ("a",))]
    account = journal.standing.accounts["notes"]
    assert (account.failures, account.failures_in_a_row) == (7, 0)


def test_a_collection_is_left_to_its_holder(scene: Scene) -> None:
    """Until its lease is over, or sooner where the next look is sooner; it is said once."""
    scene.add("a")
    start_s = scene.clock.monotonic_s()
    tried_s: list[float] = []

    def held(name: str, _: IsOver) -> Turns | None:
        tried_s.append(scene.clock.monotonic_s() - start_s)
        left_s = 100 - tried_s[-1]
        return Turns(left={name: Lease(name, "you", 3, left_s)}) if left_s > 0 else None

    scene.before = held
    worker, journal = scene.worker()
    worker.run()
    assert scene.turns == [("notes", ("a",))]
    assert 100 <= tried_s[-1] <= 101
    assert len(tried_s) == 5
    assert len(scene.told("left")) == 1
    assert journal.standing.accounts["notes"] == replace(
        journal.standing.accounts["notes"], left=False, failures=0
    )


def test_a_lease_that_was_lost_is_no_failure(scene: Scene) -> None:
    """Whoever took over does the work."""
    scene.add("a")
    lost = iter([True])

    def lose(name: str, _: IsOver) -> None:
        if next(lost, False):
            raise Conflict(f"the lease of {name} is lost", kind="lease-lost")

    scene.before = lose
    worker, journal = scene.worker()
    worker.run()
    assert scene.turns == [("notes", ("a",))]
    assert scene.told("failed") == []
    assert journal.standing.accounts["notes"].failures == 0


def test_it_looks_at_everything_now_and_then(scene: Scene) -> None:
    """What was not announced is found within one and a half times the interval."""
    scene.vault.write({"notes": upserts(record("first"))}, run_id="first")
    ledger = DeafLedger(scene.vault.parts.ledger, scene.clock)
    scene.put_ledger(ledger)  # type: ignore[arg-type]
    worker, _ = scene.worker(once=False)
    ledger.unheard = iter([lambda: scene.add("a"), worker.stop])
    start_s = scene.clock.monotonic_s()
    worker.run()
    assert scene.turns == [("notes", ("first",)), ("notes", ("a",))]
    assert scene.clock.monotonic_s() - start_s <= 2 * 1.5 * POLL_S


def test_runs_that_come_together_are_taken_together(scene: Scene) -> None:
    """One that is announced right after another one comes into its version; then all begins."""
    coming = iter(["a", "b", "c", ""])
    waited_s: list[float] = []

    class Announcing(DeafLedger):
        def wait(self, timeout_s: float, *, stop: threading.Event | None = None) -> bool:
            del stop
            waited_s.append(timeout_s)
            run_id = next(coming, None)
            if run_id:
                scene.add(run_id)
            if run_id is None:
                worker.stop()
            return bool(run_id)

    scene.put_ledger(Announcing(scene.vault.parts.ledger, scene.clock))  # type: ignore[arg-type]
    worker, _ = scene.worker(once=False, collections=["notes"])
    worker.run()
    assert scene.turns == [("notes", ("a", "b", "c"))]
    assert max(waited_s[1:4]) < 0.1


def test_collections_that_come_later_are_found(scene: Scene) -> None:
    """And listened to from then on."""
    ledger = DeafLedger(scene.vault.parts.ledger, scene.clock)
    scene.put_ledger(ledger)  # type: ignore[arg-type]
    nothing: list[Callable[[], None]] = [lambda: None] * 4
    worker, _ = scene.worker(once=False)
    ledger.unheard = iter([lambda: scene.add("a"), *nothing, worker.stop])
    worker.run()
    assert scene.turns == [("notes", ("a",))]
    assert ledger.heard == [[], ["notes"]]


def test_only_named_collections_are_taken(scene: Scene) -> None:
    """The others wait for somebody else."""
    scene.add("a")
    scene.add("w", collection="words")
    worker, _ = scene.worker(collections=["words"])
    worker.run()
    assert scene.turns == [("words", ("w",))]


def test_a_ledger_that_does_not_answer_is_asked_again(scene: Scene) -> None:
    """Later each time; meanwhile the loop comes round, and the worker is not ready."""
    scene.add("a")
    answers, inner = iter([False, False, False]), scene.vault.parts.ledger

    class Silent(DeafLedger):
        def counts(self, collection: str) -> Any:  # noqa: ANN401 - the ledger's own
            if not next(answers, True):
                assert journal.standing.answered_s is None
                raise Unavailable("no answer", kind="ledger-unavailable")
            return inner.counts(collection)

    scene.put_ledger(Silent(inner, scene.clock))  # type: ignore[arg-type]
    scene.before = lambda *_: worker.stop()
    worker, journal = scene.worker(once=False)
    worker.run()
    assert scene.turns == [("notes", ("a",))]
    assert [said["work"] for said in scene.told("failed")] == ["look"] * 3
    assert journal.standing.answered_s is not None
    assert scene.clock.monotonic_s() >= 0.5 * (1 + 2 + 4)


def test_falling_behind_is_said_once(scene: Scene) -> None:
    """And that it has caught up; nothing is left out."""
    scene.add(*(f"r{n}" for n in range(5)))
    worker, _ = scene.worker(behind_runs=4)
    worker.run()
    assert scene.told("behind") == [{"collection": "notes", "runs": 5}]
    assert scene.told("caught-up") == [{"collection": "notes", "runs": 0}]
    assert len(scene.turns[0][1]) == 5


def test_a_chore_is_done_until_it_knows_of_nothing_more(scene: Scene) -> None:
    """At once where there is more, after a rest where it may be; runs that it adds are taken."""
    more = iter([0.0, 2.0, None])
    done_s: list[float] = []

    def work(_: IsOver) -> float | None:
        done_s.append(scene.clock.monotonic_s())
        scene.add(f"r{len(done_s)}")
        return next(more)

    worker, journal = scene.worker(chores=[Chore("inbox", work, every_s=10)])
    worker.run()
    assert len(done_s) == 3
    assert done_s[1] - done_s[0] < 1
    assert 2 <= done_s[2] - done_s[1] < 3
    assert sorted(run for _, ids in scene.turns for run in ids) == ["r1", "r2", "r3"]
    assert journal.standing.chores["inbox"].succeeded_at_s > 0


def test_a_chore_that_fails_stops_nothing(scene: Scene) -> None:
    """It rests as collections do."""
    failures = iter([True, True])

    def work(_: IsOver) -> float | None:
        if next(failures, False):
            raise Unavailable("no answer", kind="inbox-unavailable")
        worker.stop()
        return None

    scene.add("a")
    worker, journal = scene.worker(once=False, chores=[Chore("inbox", work, every_s=10)])
    worker.run()
    assert scene.turns == [("notes", ("a",))]
    assert journal.standing.chores["inbox"] == Account(
        failures=2, succeeded_at_s=journal.standing.chores["inbox"].succeeded_at_s
    )


def real_time(scene: Scene) -> None:
    """Let the time of a scene pass as it does."""
    scene.vault.parts = replace(scene.vault.parts, clock=SystemClock())


def test_what_is_under_way_is_finished(scene: Scene, sandbox: StillSandbox) -> None:
    """Within its grace; nothing more is begun."""
    real_time(scene)
    scene.add("a")
    begun, may_end = threading.Event(), threading.Event()

    def slowly(*_: object) -> None:
        begun.set()
        assert may_end.wait(PATIENCE_S)
        scene.add("late")

    scene.before = slowly
    with ThreadPoolExecutor(3) as pool:
        worker, _ = scene.worker(pool=pool, once=False, grace_s=PATIENCE_S)
        running = threading.Thread(target=worker.run)
        running.start()
        assert begun.wait(PATIENCE_S)
        worker.stop()
        scene.add("w", collection="words")
        may_end.set()
        running.join(PATIENCE_S)
        assert not running.is_alive()
    assert [name for name, _ in scene.turns] == ["notes"]
    assert not sandbox.closed.is_set()


def test_what_takes_too_long_is_given_back(scene: Scene, sandbox: StillSandbox) -> None:
    """The child is killed, the work told that it is over, and that is no failure."""
    real_time(scene)
    scene.add("a")
    begun = threading.Event()

    def endlessly(_: str, is_over: IsOver) -> None:
        begun.set()
        assert sandbox.closed.wait(PATIENCE_S)
        assert is_over()
        raise Interrupted("it was ended")

    scene.before = endlessly
    with ThreadPoolExecutor(3) as pool:
        worker, _ = scene.worker(pool=pool, once=False, grace_s=0.0)
        running = threading.Thread(target=worker.run)
        running.start()
        assert begun.wait(PATIENCE_S)
        assert not sandbox.closed.is_set()
        worker.stop()
        running.join(PATIENCE_S)
        assert not running.is_alive()
    assert scene.told("given-back") == [{"collection": "notes", "reason": "it was ended"}]
    assert worker.failures == {}
