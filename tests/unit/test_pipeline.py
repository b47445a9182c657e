"""What has happened between two looks, and how fast, decided from plain data."""

from __future__ import annotations

import datetime as dt

from chromaseal.errors import Unavailable
from chromaseal.fleet.pipeline import CollectionLook, Look, Rates, happenings, lag_s, rates
from chromaseal.run.model import RunState

NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
SILENT = {"the store": Unavailable("gone")}


def states(pending: int = 0, completed: int = 0, failed: int = 0) -> dict[RunState, int]:
    """Give counts of every state."""
    counted = dict.fromkeys(RunState, 0)
    return counted | {
        RunState.PENDING: pending,
        RunState.COMPLETED: completed,
        RunState.FAILED: failed,
    }


def seen(*collections: CollectionLook, after_s: float = 0.0) -> Look:
    """Give a look."""
    return Look(NOW + dt.timedelta(seconds=after_s), collections)


def told(before: Look, now: Look) -> list[tuple[str, str, int]]:
    """Give what has happened, without its words."""
    return [(each.what, each.of, each.count) for each in happenings(before, now)]


def test_what_has_changed_is_told() -> None:
    """Versions, runs that came, failed or were cancelled; nothing where nothing changed."""
    old = CollectionLook("notes", 1, "one", states=states(pending=1, completed=2))
    new = CollectionLook("notes", 3, "three", states=states(pending=2, completed=3, failed=1))
    assert told(seen(old), seen(old)) == []
    expected = [("version", "notes", 2), ("added", "notes", 3), ("failed", "notes", 1)]
    assert told(seen(old), seen(new)) == expected
    cancelled = CollectionLook("notes", 1, "one", states={**states(completed=2)})
    cancelled.states[RunState.CANCELLED] = 1  # type: ignore[index]
    assert told(seen(old), seen(cancelled)) == [("cancelled", "notes", 1)]


def test_a_collection_that_comes_is_news() -> None:
    """With its runs; but not where it was only not to be seen at the look before."""
    new = CollectionLook("notes", 1, "one", states=states(completed=2))
    assert told(seen(), seen(new)) == [("version", "notes", 1), ("added", "notes", 2)]
    assert told(Look(NOW, problems=SILENT), seen(new)) == [("answered", "the store", 0)]


def test_silence_is_told_once_and_is_no_news_of_runs() -> None:
    """It begins and ends; what the ledger could not be asked for in between counts as nothing."""
    unknown = CollectionLook("notes", 1, "one")
    known = CollectionLook("notes", 1, "one", states=states(completed=2))
    silent = Look(NOW, (unknown,), SILENT)
    assert told(seen(unknown), silent) == [("silent", "the store", 0)]
    assert told(silent, silent) == []
    assert told(silent, seen(known)) == [("answered", "the store", 0)]


def test_rates_are_by_the_minute() -> None:
    """Between the first and the last look; without two of them, and backwards, there are none."""
    old = CollectionLook("notes", 1, "one", states=states(pending=1))
    new = CollectionLook("notes", 2, "two", states=states(pending=3, completed=3))
    looks = [seen(old), seen(old, after_s=7), seen(new, after_s=30)]
    assert rates(looks) == Rates(runs_added=10, runs_merged=6, versions=2)
    assert rates(looks[:1]) == rates([]) == Rates()
    assert rates([seen(new), seen(old, after_s=30)]) == Rates()


def test_lag_goes_by_the_run_that_waited_longest() -> None:
    """None where a version merged no run."""
    began = ["2026-11-23T11:00:08.000000Z", "2026-11-23T11:00:01.000000Z"]
    assert lag_s("2026-11-23T11:00:11.000000Z", began) == 10
    assert lag_s("2026-11-23T11:00:11.000000Z", []) is None
