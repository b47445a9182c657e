"""The records of the writing application are recognised, and nothing else passes for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chromaseal.record import Record
from chromaseal.testing.writing_application import COUNTER, Expected, Plan, prefix_of, record_of

PLAN = Plan(records=100, dimension=4)


def after(calls: int) -> dict[str, Record]:
    """Give the records after so many calls."""
    expected = Expected(PLAN)
    for _ in range(calls):
        expected.step()
    return {i: record_of(PLAN, i, batch) for i, batch in expected.contents.items()}


@pytest.mark.parametrize("calls", range(8))
def test_every_state_is_recognised(calls: int) -> None:
    """What a number of calls leaves is known by that number."""
    assert prefix_of(after(calls).values(), PLAN) == calls


def batch_of(record: Record | None) -> object:
    """Give the batch that wrote a record."""
    return record and record.metadata["batch"]


@pytest.mark.parametrize("calls", [3, 4])
def test_half_a_call_is_no_state(calls: int) -> None:
    """Between two calls there is nothing that passes."""
    before, now = after(calls - 1), after(calls)
    changed = [
        record_id
        for record_id in sorted(before.keys() | now.keys())
        if batch_of(before.get(record_id)) != batch_of(now.get(record_id))
    ]
    assert len(changed) > 1
    torn = dict(now)
    for record_id in changed[::2]:
        torn.pop(record_id, None)
        if record_id in before:
            torn[record_id] = before[record_id]
    with pytest.raises(ValueError, match=r"state|counter"):
        prefix_of(torn.values(), PLAN)


def test_other_content_is_no_state() -> None:
    """One vector of another batch, one changed document and one missing record are found."""
    records = after(6)
    one = next(each for each in records.values() if each.id != COUNTER)
    vector = replace(one, embedding=one.embedding + np.float32(1e-6))
    for wrong in (vector, replace(one, document="torn"), None):
        changed = {**records, one.id: wrong}
        with pytest.raises(ValueError, match=r"batch"):
            prefix_of([each for each in changed.values() if each is not None], PLAN)
