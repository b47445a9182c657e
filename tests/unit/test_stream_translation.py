"""Changes of the receipts table -> messages that the existing programs could have written."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chromaseal.adapters.dynamodb.items import run_item
from chromaseal.clock import to_iso
from chromaseal.errors import RefusedInput
from chromaseal.run.model import Run, RunPart, RunState
from chromaseal.stream.messages import attributes_of, body_of, read
from chromaseal.stream.reminder import AFTER, reminder_of
from chromaseal.stream.table import EntityType, entity_of
from chromaseal.stream.translation import TableChange, messages_of
from chromaseal.testing.event_names import event_name

IMAGE = "0f5e8d5c-0c4f-4f0e-9d7d-0a7d3f0f6c11"
RUN = "7b0f3c1e-5d43-4a51-8f6e-2f1f5b1f0a22"
RECEIPT = {"image_id": IMAGE, "receipt_id": 1}
SECOND = 1_764_352_800


def change(
    sort: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    *,
    partition: str = f"IMAGE#{IMAGE}",
) -> TableChange:
    """Give a stream record of an item's change."""
    name = event_name(before, after)
    return TableChange(name, partition, sort, before, after, "event-1", "111", SECOND, "us-east-1")


def run(
    state: RunState = RunState.PENDING, *, run_id: str = RUN, names: tuple[str, ...] = ()
) -> Run:
    """Give a run of a receipt."""
    part = RunPart(state, "", 10, 3)
    parts = {
        name: RunPart(part.state, f"{name}/delta/{run_id}/delta.parquet", 10, 3)
        for name in names or ("lines", "words")
    }
    attributes = {"image_id": IMAGE, "receipt_id": "1"}
    return Run(run_id, "2026-11-28T18:00:00.000000Z", parts, attributes)


def run_change(before: Run | None, after: Run) -> TableChange:
    """Give the stream record of a run as the ledger writes it."""
    old = run_item(before, "w1") if before else None
    new = run_item(after, "w2")
    return change(new["SK"], old, new, partition=new["PK"])


def test_a_new_run_is_told_to_each_of_its_collections() -> None:
    """With the fields, and nothing but the fields, that the existing messages have."""
    lines, words = messages_of(run_change(None, run()))
    assert (lines.collection, words.collection) == ("lines", "words")
    assert json.loads(body_of(lines)) == {
        "source": "dynamodb_stream",
        "entity_type": "COMPACTION_RUN",
        "entity_data": {
            "run_id": RUN,
            "image_id": IMAGE,
            "receipt_id": 1,
            "lines_delta_prefix": f"lines/delta/{RUN}/",
            "words_delta_prefix": f"words/delta/{RUN}/",
            "delta_s3_prefix": f"lines/delta/{RUN}/",
        },
        "changes": {},
        "event_name": "INSERT",
        "timestamp": "2025-11-28T18:00:00.999999+00:00",
        "stream_record_id": "event-1",
        "aws_region": "us-east-1",
    }
    assert attributes_of(words) == {
        "source": "dynamodb_stream",
        "entity_type": "COMPACTION_RUN",
        "event_name": "INSERT",
        "collection": "words",
        "sequence_number": "111",
    }


def test_a_run_that_others_cannot_read_is_told_as_well() -> None:
    """It has a key of its own, and names the collections that it has."""
    (message,) = messages_of(run_change(None, run(run_id="change-1", names=("notes",))))
    assert (message.collection, message.run_id) == ("notes", "change-1")


def test_a_run_of_another_program_is_told_as_before() -> None:
    """Its item has no parts, and its deltas are called by the prefixes that it names."""
    item = {"lines_delta_prefix": "lines/delta/x/", "lines_state": "PENDING"}
    told = messages_of(change(f"RECEIPT#00001#COMPACTION_RUN#{RUN}", None, item))
    assert [m.collection for m in told] == ["lines", "words"]
    assert told[0].entity_data["delta_s3_prefix"] == "lines/delta/x/"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (RunState.FAILED, RunState.PENDING, 2),
        (RunState.CANCELLED, RunState.PENDING, 2),
        (RunState.COMPLETED, RunState.PENDING, 2),
        # Whoever gave it back has the message still, or looks again by itself.
        (RunState.MERGING, RunState.PENDING, 0),
        (RunState.PENDING, RunState.MERGING, 0),
        (RunState.MERGING, RunState.COMPLETED, 0),
    ],
)
def test_a_run_that_is_retried_is_told_again(before: RunState, after: RunState, told: int) -> None:
    """And one that only moves on, or that a failed merge gave back, is not."""
    assert len(messages_of(run_change(run(before), run(after)))) == told


def test_a_place_is_told_by_what_changed() -> None:
    """To both collections, with old and new values that JSON can hold."""
    before = {"merchant_name": "Old", "phone_number": "1", "confidence": Decimal("0.5")}
    after = {"merchant_name": "New", "phone_number": "1", "confidence": Decimal("0.7")}
    told = messages_of(change("RECEIPT#00001#PLACE", before, after))
    assert [m.collection for m in told] == ["lines", "words"]
    body = json.loads(body_of(told[0]))
    assert body["changes"] == {"merchant_name": {"old": "Old", "new": "New"}}
    assert body["entity_data"] == {"entity_type": "RECEIPT_PLACE", **RECEIPT}


def test_what_is_not_watched_is_not_told() -> None:
    """A change of another field, of another item, and a new label are nobody's business."""
    assert not messages_of(change("RECEIPT#00001#PLACE", {"reasoning": "a"}, {"reasoning": "b"}))
    assert not messages_of(change("RECEIPT#00001", {"width": 1}, {"width": 2}))
    assert not messages_of(change("IMAGE", {"a": 1}, None))
    assert not messages_of(change("LOCK", {"a": 1}, None, partition="LOCK#lines#x"))
    sort = "RECEIPT#00001#LINE#00002#WORD#00003#LABEL#TAX"
    assert not messages_of(change(sort, None, {"validation_status": "PENDING"}))


@pytest.mark.parametrize(
    ("sort", "collections", "ids"),
    [
        ("RECEIPT#00001", ["lines", "words"], {}),
        ("RECEIPT#00001#LINE#00002", ["lines"], {"line_id": 2}),
        ("RECEIPT#00001#LINE#00002#WORD#00003", ["words"], {"line_id": 2, "word_id": 3}),
        ("RECEIPT#00001#PLACE", ["lines", "words"], {}),
        ("RECEIPT#00001#METADATA", ["lines", "words"], {}),
        (
            "RECEIPT#00001#LINE#00002#WORD#00003#LABEL#TAX",
            ["words", "lines"],
            {"line_id": 2, "word_id": 3, "label": "TAX"},
        ),
    ],
)
def test_what_is_removed_is_told(sort: str, collections: list[str], ids: dict[str, object]) -> None:
    """To the collections that have records of it."""
    told = messages_of(change(sort, {"a": 1}, None))
    assert [m.collection for m in told] == collections
    kind = told[0].entity_type.value
    assert told[0].entity_data == {"entity_type": kind, **RECEIPT, **ids}


def test_a_message_is_ordered_after_what_was_written_in_its_second() -> None:
    """The stream's time is rounded down; a run written before the change stays before it."""
    at = dt.datetime.fromtimestamp(SECOND, dt.UTC) + dt.timedelta(seconds=0.9)
    assert change("RECEIPT#00001", {}, None).timestamp > at.isoformat()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"entity_type": "COMPACTION_RUN"}',
        json.dumps(
            {
                "entity_type": "RECEIPT",
                "event_name": "REMOVE",
                "entity_data": {"image_id": "a", "receipt_id": "1"},
                "timestamp": "",
                "stream_record_id": "",
            }
        ),
    ],
)
def test_what_is_no_message_is_refused(body: str) -> None:
    """With a kind of its own, whatever is in it."""
    with pytest.raises(RefusedInput) as caught:
        read(body, {"collection": "lines"})
    assert caught.value.kind == "bad-message"


def test_a_delta_without_a_run_is_refused_by_name() -> None:
    """Batch producers send such messages; nobody may take them for nonsense."""
    with pytest.raises(RefusedInput) as caught:
        read('{"delta_key": "lines/delta/x/", "collection": "lines"}', {})
    assert caught.value.kind == "foreign-delta"


def test_keys_that_only_look_alike_are_other_items() -> None:
    """Sections, summaries and whatever comes later are left alone."""
    for sort in ("RECEIPT#00001#SECTION#HEADER", "RECEIPT#1", "RECEIPT#00001#PLACE#X", ""):
        assert entity_of(f"IMAGE#{IMAGE}", sort) is None
    assert entity_of("CHROMASEAL#RUN_ID", "x") is None
    found = entity_of("CHROMASEAL#RUN#a", "RUN")
    assert found is not None
    assert found.type is EntityType.COMPACTION_RUN


@pytest.mark.parametrize(
    ("state", "begun_ago", "is_told"),
    [
        (RunState.PENDING, None, True),
        (RunState.MERGING, AFTER / 2, False),
        (RunState.MERGING, 2 * AFTER, True),
    ],
)
def test_a_run_that_waits_for_long_is_told_again(
    state: RunState,
    begun_ago: dt.timedelta | None,
    is_told: bool,  # noqa: FBT001
) -> None:
    """Not while its first message may be on its way, nor while somebody is just merging it."""
    written = run(state)
    at = dt.datetime.fromisoformat(written.created_at)
    now = at + 3 * AFTER
    started_at = to_iso(now - begun_ago) if begun_ago else ""
    parts = {n: replace(part, started_at=started_at) for n, part in written.parts.items()}
    waits = replace(written, parts=parts)
    told = reminder_of(waits, "words", now=now)
    assert (told is not None) is is_told
    if told is not None:
        assert (told.collection, told.run_id) == ("words", RUN)
    assert reminder_of(waits, "words", now=at + AFTER / 2) is None
