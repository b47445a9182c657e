"""Telling of steps and events: nesting, outcomes, threads, other processes, failing watchers."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from chromaseal.errors import Conflict
from chromaseal.telemetry.emit import Foreign, carried, event, is_observed, observed, step
from chromaseal.telemetry.observer import Facts, Handle, Severity, Silent
from chromaseal.telemetry.relay import TOLD, RelayObserver, take
from chromaseal.testing.recording_observer import RecordingObserver

FLOOD = 5000


class Failing(RecordingObserver):
    """Fails at whatever it is told."""

    def begin(self, name: str, facts: Facts, *, under: Handle | None, at_s: float) -> Handle:
        """Fail."""
        raise OSError("no space left", name, facts, under, at_s)

    def event(
        self, name: str, severity: Severity, facts: Facts, *, under: Handle | None, at_s: float
    ) -> None:
        """Fail."""
        raise OSError("no space left", name, severity, facts, under, at_s)


def test_parts_know_the_step_around_them() -> None:
    """Steps and events belong to the innermost step that is open."""
    heard = RecordingObserver()
    with observed(heard), step("push"):
        with step("seal"):
            event("directory closed")
        event("race lost")
    assert heard.step("seal").under is heard.step("push")
    assert heard.said("directory closed")[0].under is heard.step("seal")
    assert heard.said("race lost")[0].under is heard.step("push")
    assert not is_observed()


def test_who_hears_of_events_alone_is_told_of_no_steps() -> None:
    """So a command can say what it waits for, and nothing else of it costs more than before."""
    heard: list[str] = []

    class Hearing(Silent):
        def event(
            self, name: str, severity: Severity, facts: Facts, *, under: Handle | None, at_s: float
        ) -> None:
            del severity, facts, under, at_s
            heard.append(name)

    with observed(Hearing()), step("push"):
        assert not is_observed()
        event("race lost")
    event("race lost")
    assert heard == ["race lost"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Conflict("first", kind="lost-race"), "lost-race"),
        (ValueError("odd"), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_the_outcome_is_the_kind_of_the_error(error: BaseException, outcome: str) -> None:
    """A step ends with the error's kind, or its class, and the error goes on."""
    heard = RecordingObserver()
    with observed(heard), pytest.raises(type(error)), step("push"):
        raise error
    assert heard.step("push").outcome == outcome


def test_a_failing_observer_is_heard_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The work goes on, and standard error says once what is wrong with telling."""
    done = []
    with observed(Failing()), step("push"):
        event("race lost")
        done.append("work")
    assert done == ["work"]
    assert capsys.readouterr().err.count("no space left") == 1


def test_carried_work_belongs_to_the_step() -> None:
    """What a pool's thread does is a part of the step that handed it over."""
    heard = RecordingObserver()

    def work(name: str) -> None:
        with step("store layer", layer=name):
            pass

    with observed(heard), step("publish"), ThreadPoolExecutor(3) as pool:
        list(pool.map(carried(work), "abcdef"))
    layers = [each for each in heard.steps if each.name == "store layer"]
    assert sorted(str(each.facts["layer"]) for each in layers) == list("abcdef")
    assert all(each.under is heard.step("publish") for each in layers)


def lines_of_a_child() -> list[Any]:
    """Give what a child sends of a step in a step, an event, and a step that it died in."""
    lines: list[Any] = []
    relay = RelayObserver(lambda line: lines.append(line[TOLD]))
    outer = relay.begin("merge deltas", {"deltas": 2}, under=None, at_s=5.0)
    inner = relay.begin("open client", {}, under=outer, at_s=6.0)
    relay.event("check", Severity.WARNING, {"passed": False}, under=inner, at_s=6.5)
    relay.end(inner, "ok", {"pid": 7}, duration_s=2.0)
    relay.begin("close client", {}, under=outer, at_s=9.0)
    return lines


def test_what_a_child_tells_is_told_here() -> None:
    """A child's steps are parts of the step that waits for it; what it left open died with it."""
    heard = RecordingObserver()
    with observed(heard), step("run job"):
        foreign = Foreign()
        for line in lines_of_a_child():
            take(line, foreign)
        foreign.close("child-died")
    assert heard.step("merge deltas").under is heard.step("run job")
    assert heard.step("open client").under is heard.step("merge deltas")
    assert (heard.step("open client").outcome, heard.step("open client").facts) == (
        "ok",
        {"pid": 7},
    )
    assert heard.step("open client").duration_s == pytest.approx(2.0)
    assert heard.step("close client").outcome == "child-died"
    assert heard.said("check")[0].under is heard.step("open client")
    assert heard.said("check")[0].severity is Severity.WARNING


def test_a_child_that_tells_too_much_is_cut_short() -> None:
    """After a thousand lines one says that there were more, and what began still ends."""
    lines: list[Any] = []
    relay = RelayObserver(lambda line: lines.append(line[TOLD]))
    outer = relay.begin("merge deltas", {}, under=None, at_s=0.0)
    for _ in range(FLOOD):
        relay.event("check", Severity.DEBUG, {}, under=outer, at_s=0.0)
        relay.end(relay.begin("open client", {}, under=outer, at_s=0.0), "ok", {}, duration_s=0.0)
    relay.end(outer, "ok", {}, duration_s=1.0)
    begun = {line[1] for line in lines if line[0] == "begin"}
    ended = {line[1] for line in lines if line[0] == "end"}
    assert begun == ended
    assert sum(line[0] == "event" and line[2] == "more left out" for line in lines) == 1
    assert len(lines) < FLOOD


def test_a_step_may_end_in_another_context() -> None:
    """A generator that is closed elsewhere ends its step like any other."""
    heard = RecordingObserver()

    def steps() -> Generator[int, None, None]:
        with step("push"):
            yield 1

    with observed(heard):
        begun = steps()
        assert copy_context().run(lambda: next(begun)) == 1
        begun.close()
    assert heard.step("push").outcome == "ok"
