"""Runs that other programs wrote, as messages tell of them: which of them wait here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from chromaseal.legacy.deltas import LegacyRun
from chromaseal.stream.adopting import message_adopter
from chromaseal.stream.messages import Message
from chromaseal.stream.table import EntityType
from chromaseal.testing.ledger_contract import pending_run
from chromaseal.testing.simulation.memory_ledger import MemoryLedger

RUN = "run-1"


def told(**data: Any) -> Message:  # noqa: ANN401 - as messages have it
    """Give a run's message."""
    entity = {"run_id": RUN, **data}
    return Message("lines", EntityType.COMPACTION_RUN, "INSERT", entity, "", "event-1")


@pytest.mark.parametrize(
    ("is_there", "is_taken", "waits"),
    [(True, True, True), (True, False, False), (False, False, True)],
    ids=["taken over by another meanwhile", "merged by its own program", "nobody knows it"],
)
def test_what_is_not_to_be_taken_over_may_wait_all_the_same(
    is_there: bool,  # noqa: FBT001 - as parametrised
    is_taken: bool,  # noqa: FBT001
    waits: bool,  # noqa: FBT001
) -> None:
    """Its message is done only where its own program has merged it."""
    ledger = MemoryLedger()

    def run_of(*_: object) -> tuple[bool, LegacyRun | None]:
        if is_taken:
            ledger.add(pending_run(RUN))
        return is_there, None

    parts = cast("Any", SimpleNamespace(ledger=ledger))
    adopt = message_adopter(parts, cast("Any", None), run_of, lambda _: None)
    assert adopt(told(image_id="i", receipt_id=1)) is waits


def test_a_message_that_names_no_receipt_is_of_a_run_of_ours() -> None:
    """The table has runs of other programs below their receipts only."""

    def run_of(*_: object) -> tuple[bool, LegacyRun | None]:
        raise AssertionError("nobody is to look")

    adopt = message_adopter(cast("Any", None), cast("Any", None), run_of, lambda _: None)
    assert adopt(told())
