"""Folding runs equals applying them one by one to a dictionary, in whatever order they arrive."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Sequence
from typing import Protocol

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chromaseal.clock import Clock, from_iso
from chromaseal.compaction.fold import fold, outcome_on
from chromaseal.compaction.plan import new_runs, runs_to_repeat
from chromaseal.delta.model import Changes, Delta
from chromaseal.snapshot.manifest import MergedRun
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.oracle import Rows, assert_same_rows, expected_rows
from chromaseal.testing.strategies import histories
from chromaseal.testing.whole import WHOLE
from chromaseal.vault import Vault


class OpenVault(Protocol):
    """What the fixture ``vault_at`` gives; see ``tests/conftest.py``."""

    def __call__(self, url: str = "", *, clock: Clock | None = None) -> Vault:
        """Open a vault."""
        ...


def applied(rows: Rows, deltas: Iterable[Delta]) -> Rows:
    """Give what a merge makes of a collection's records."""
    result = dict(rows)
    for record_id, outcome in fold(deltas).items():
        record = outcome_on(rows.get(record_id), outcome)
        result.pop(record_id, None)
        if record is not None:
            result[record_id] = record
    return result


def compacted(batches: Sequence[Sequence[Delta]]) -> Rows:
    """Merge batch after batch as the compactor does, late runs among them."""
    rows: Rows = {}
    merged: list[MergedRun] = []
    kept: dict[str, Delta] = {}
    for number, batch in enumerate(batches, 1):
        repeat = [kept[run.run_id] for run in runs_to_repeat(batch, merged)]
        rows = applied(rows, [*batch, *repeat])
        merged = sorted([*merged, *new_runs(batch, number)], key=lambda run: run.order)
        kept |= {delta.header.run_id: delta for delta in batch}
    return rows


@st.composite
def batched(draw: st.DrawFn) -> list[list[Delta]]:
    """Give runs in a random order of arrival, cut into batches."""
    arrived = draw(histories.flatmap(st.permutations))
    cuts = draw(st.lists(st.booleans(), min_size=len(arrived), max_size=len(arrived)))
    batches: list[list[Delta]] = [[]]
    for delta, cut in zip(arrived, cuts, strict=True):
        if cut and batches[-1]:
            batches.append([])
        batches[-1].append(delta)
    return batches


@settings(max_examples=40)
@given(histories, histories)
def test_one_merge_equals_the_dictionary(before: list[Delta], deltas: list[Delta]) -> None:
    """A batch leaves what applying its runs one by one, oldest first, leaves."""
    rows = expected_rows(before)
    assert_same_rows(applied(rows, deltas).values(), expected_rows(deltas, rows))


@settings(max_examples=40)
@given(histories.flatmap(lambda deltas: st.tuples(st.just(deltas), st.permutations(deltas))))
def test_the_order_of_arrival_does_not_count(pair: tuple[list[Delta], list[Delta]]) -> None:
    """The same runs in another order leave the same records."""
    first, second = pair
    assert_same_rows(applied({}, first).values(), applied({}, second))


@settings(max_examples=40)
@given(histories, histories)
def test_applying_twice_changes_nothing(before: list[Delta], deltas: list[Delta]) -> None:
    """A batch on top of itself leaves what it left."""
    once = applied(expected_rows(before), deltas)
    assert_same_rows(applied(once, deltas).values(), once)


@settings(max_examples=80)
@given(batched())
def test_late_runs_come_out_in_order(batches: list[list[Delta]]) -> None:
    """Repeating the later runs after a late one equals applying all of them in order."""
    everything = list(itertools.chain.from_iterable(batches))
    assert_same_rows(compacted(batches).values(), expected_rows(everything))


def changes_of(delta: Delta) -> Changes:
    """Give what a writer would have asked for."""
    upserts = [delta.upserts.record(index) for index in range(len(delta.upserts))]
    return Changes(upserts, delta.updates, delta.deletes)


@pytest.mark.slow
@settings(
    max_examples=60 if WHOLE else 6,
    deadline=None,
    # A failing case is small already, and every step of shrinking would be several merges.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches=batched().filter(lambda batches: bool(len(batches[0][0].upserts))))
def test_a_vault_equals_the_dictionary(vault_at: OpenVault, batches: list[list[Delta]]) -> None:
    """Real merges by ChromaDB, in random batches and orders, leave what the dictionary says.

    Ten times as many of them with ``make test-whole``.
    """
    clock = ManualClock()
    vault = vault_at("memory://", clock=clock)
    for batch in batches:
        for delta in batch:
            clock.set(from_iso(delta.header.created_at))
            vault.write({"notes": changes_of(delta)}, run_id=delta.header.run_id)
        clock.set(clock.now() + dt.timedelta(days=1))
        (done,) = vault.compact()
        assert not done.failed
        assert len(done.merged) == len(batch)
    everything = list(itertools.chain.from_iterable(batches))
    with vault.reader("notes") as reader:
        assert_same_rows(reader.records(), expected_rows(everything))
    versions = list(vault.log("notes"))
    assert versions[0].version.records == len(expected_rows(everything))
    assert len(versions) == len(batches)
    # Later versions were verified by what changed in them: a look at everything agrees.
    assert vault.verify("notes", level="deep").sound
