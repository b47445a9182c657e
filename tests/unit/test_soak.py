"""What a soak decides, and what it would notice."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from bench.soak.blows import KINDS, Blow, Deed, Kind, Role, blows, target
from bench.soak.figures import events_in, lags_s, spread
from bench.soak.journal import (
    ACKNOWLEDGED,
    INTENT,
    UNANSWERED,
    Attempted,
    Journal,
    attempted,
    read_journal,
)
from bench.soak.reckoning import Tried, differences, expected, wrong_runs
from bench.soak.writer import first_number
from bench.soak.writes import changes_of

from chromaseal.record import Record

LEASE_S = 3.0
CREATED = "2026-11-28T14:00:00.000000Z"
LATER = "2026-11-28T15:00:00.000000Z"


def dealt(count: int, seed: int = 7) -> list[Blow]:
    """Give the first blows."""
    return list(itertools.islice(blows(seed, every_s=3.0, lease_s=LEASE_S), count))


def test_a_seed_decides_every_blow() -> None:
    """The same seed, the same blows; another one, others."""
    assert dealt(50) == dealt(50)
    assert dealt(50) != dealt(50, seed=8)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_comes_before_any_comes_twice(seed: int) -> None:
    """However short a soak is, and stops last longer than a lease."""
    first = dealt(len(KINDS), seed)
    assert {blow.kind for blow in first} == set(KINDS)
    stops = [blow for blow in dealt(100, seed) if blow.kind.deed is Deed.STOP]
    assert min(blow.lasts_s for blow in stops) > LEASE_S


def test_who_is_at_work_is_hit_where_that_is_meant() -> None:
    """Otherwise whoever stands; nobody where nobody does."""
    kind = Kind(Deed.KILL, Role.COMPACTOR)
    aimed = Blow(kind, after_s=1, lasts_s=1, draw=0.99, aimed=True, clean=True)
    blind = Blow(kind, after_s=1, lasts_s=1, draw=0.99, aimed=False, clean=True)
    assert target(aimed, ["a", "b", "c"], {"b"}) == "b"
    assert target(aimed, ["a", "c"], {"b"}) == "c"
    assert target(blind, ["a", "b", "c"], {"b"}) == "c"
    assert target(aimed, [], {"b"}) is None


def test_what_a_writer_writes_is_known_to_all() -> None:
    """The same for whoever asks, with no id twice in a run, and all kinds of changes."""
    for number in range(60):
        for name, changes in changes_of(3, 1, number).items():
            again = changes_of(3, 1, number)[name]
            ids = [*(r.id for r in changes.upserts), *changes.updates, *changes.deletes]
            assert len(ids) == len(set(ids))
            assert (changes.updates, changes.deletes) == (again.updates, again.deletes)
            for one, other in zip(changes.upserts, again.upserts, strict=True):
                assert np.array_equal(one.embedding, other.embedding)
    runs = [c for number in range(60) for c in changes_of(3, 1, number).values()]
    assert any(run.updates for run in runs)
    assert any(run.deletes for run in runs)


def test_a_journal_survives_its_writers_death(tmp_path: Path) -> None:
    """A last line that was cut off is none, and what comes after it is whole."""
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.note(INTENT, 0, 1.0)
        journal.note(UNANSWERED, 0, 2.0, message="no answer")
        journal.note(INTENT, 0, 3.0)
        journal.note(ACKNOWLEDGED, 0, 4.0, created_at=CREATED)
        journal.note(INTENT, 1, 5.0)
    with path.open("ab") as file:
        file.write(b'{"event": "acknow')
    first = Attempted(0, 1.0, acknowledged_s=4.0, created_at=CREATED, tries=2, unanswered=1)
    assert read_journal(path) == [first, Attempted(1, 5.0, tries=1)]
    assert first_number(path, repeats=True) == 1
    assert first_number(path, repeats=False) == 2
    with Journal(path) as journal:
        journal.note(ACKNOWLEDGED, 1, 6.0, created_at=LATER)
    assert read_journal(path)[1].acknowledged_s == 6.0
    assert first_number(path, repeats=True) == 2
    assert attempted([]) == []


def test_lost_and_repeated_runs_are_noticed() -> None:
    """So is a run of another age, and one that nobody has written."""
    told = Attempted(0, 1.0, acknowledged_s=2.0, created_at=CREATED)
    tried = [Tried("a", 0, told), Tried("b", 0, Attempted(1, 3.0))]
    assert wrong_runs(tried, [("a", CREATED)]) == []
    assert wrong_runs(tried, [("a", CREATED), ("b", LATER)]) == []
    assert wrong_runs(tried, []) == ["a was acknowledged and is in no version"]
    assert wrong_runs(tried, [("a", CREATED)] * 2) == ["a was merged 2 times"]
    assert "nobody has written c" in wrong_runs(tried, [("a", CREATED), ("c", LATER)])
    assert "its writer was told" in wrong_runs(tried, [("a", LATER)])[0]


def test_a_vector_of_one_bit_less_is_noticed() -> None:
    """And a record too few or too many, and another order of two runs."""
    number = next(n for n in range(9) if "lines" in changes_of(0, 0, n))
    tried = [Tried("a", 0, Attempted(number, 1.0))]
    rows = expected(0, "lines", tried, {"a": CREATED})
    records = list(rows.values())
    assert differences("x", records, rows) == []
    assert "is missing" in differences("x", records[1:], rows)[0]
    one = records[0]
    changed = Record(one.id, np.nextafter(one.embedding, np.float32(1)), one.document, one.metadata)
    assert "differs" in differences("x", [changed, *records[1:]], rows)[0]
    stranger = Record("stranger", one.embedding, "text", {})
    assert "should not be there" in differences("x", [*records, stranger], rows)[0]


def test_lag_is_from_the_acknowledgement_to_the_first_version_with_it() -> None:
    """A version that was passed over counts as the next one; a run that never came, not at all."""
    tried = [
        Tried("a", 0, Attempted(0, 9.0, acknowledged_s=10.0)),
        Tried("b", 0, Attempted(1, 9.0, acknowledged_s=11.0)),
        Tried("c", 0, Attempted(2, 9.0, acknowledged_s=12.0)),
        Tried("d", 0, Attempted(3, 9.0)),
    ]
    versions = {"a": 1, "b": 2, "c": 4, "d": 1}
    assert lags_s(tried, versions, [(12.0, 1), (14.5, 3)]) == [2.0, 3.5]
    assert spread([1.0, 2.0, 9.0]).median_s == 2.0
    assert spread([]).count == 0


def test_events_are_counted_in_logs_that_deaths_have_cut() -> None:
    """Lines of other kinds are passed over."""
    log = 'Traceback\n{"event": "race lost"}\n{"event": "race lo\n{"event": "race lost"}\n3\n'
    assert events_in([log, ""]) == {"race lost": 2}
