"""Who waits for a store at a terminal hears so."""

from __future__ import annotations

import pytest

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.entrypoints.cli.retries import RetriesNoted
from chromaseal.errors import Unavailable
from chromaseal.retried_store import RetriedStore
from chromaseal.telemetry.emit import event, observed
from chromaseal.telemetry.observer import Facts, Severity
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.faults import Fault, FaultyStore
from chromaseal.testing.simulation.chance import SeededIds, chance_of


def noted_of(silences: int) -> list[str]:
    """Give what is noted of a request that is not answered so often."""
    noted: list[str] = []
    faulty = FaultyStore(ObstoreObjectStore("memory://"))
    for _ in range(silences):
        faulty.plan(Fault.NO_ANSWER)
    retried = RetriedStore(faulty, clock=ManualClock(), ids=SeededIds(chance_of(1)))
    with observed(RetriesNoted(noted.append)):
        try:
            retried.head("a")
        except Unavailable:
            assert silences > 1
    return noted


@pytest.mark.parametrize(("silences", "lines"), [(0, 0), (3, 0), (4, 1), (9, 1)])
def test_what_takes_longer_than_a_second_is_told(silences: int, lines: int) -> None:
    """Why, and when it is asked again; at one moment once, however often it is asked."""
    noted = noted_of(silences)
    assert len(noted) == lines
    assert all("no answer for a" in line and "; asked again in " in line for line in noted)


def test_it_is_told_now_and_then() -> None:
    """Once in five seconds, whichever request it is; of other events nothing."""
    noted: list[str] = []
    noting = RetriesNoted(noted.append)
    facts: Facts = {"attempts": 5, "waited_s": 1.0, "reason": "away"}
    for at_s in (100.0, 102.0, 104.9, 105.0, 111.0):
        noting.event("request retried", Severity.WARNING, facts, under=None, at_s=at_s)
        noting.event("race lost", Severity.WARNING, {}, under=None, at_s=at_s)
    assert noted == ["away; asked again in 1.0 s"] * 3
    with observed(noting):
        event("merge split", Severity.WARNING)
    assert len(noted) == 3
