"""Messages -> what becomes of a receipt's records."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest

from chromaseal.record import Metadata
from chromaseal.stream.changes import (
    Known,
    changed_at,
    changes_of,
    row_lines,
    run_id_of,
)
from chromaseal.stream.labels import WordLabel, label_of, word_patch
from chromaseal.stream.messages import FieldChange, Message
from chromaseal.stream.table import EntityType

ROW = "IMAGE#i#RECEIPT#00001#LINE#00002"
WORD = f"{ROW}#WORD#00003"
AT = "2026-11-28T18:00:00.999999+00:00"
NOW = dt.datetime(2026, 11, 28, 18, 0, 5, tzinfo=dt.UTC)
RECORDS: Mapping[str, Metadata] = {ROW: {"row_line_ids": "[2, 4]"}}


def message(
    entity_type: EntityType,
    collection: str = "lines",
    event_name: str = "MODIFY",
    *,
    changes: Mapping[str, FieldChange] | None = None,
    sequence_number: str = "111",
    **ids: Any,  # noqa: ANN401 - what a message may name
) -> Message:
    """Give a message about receipt 1 of image i."""
    data = {"image_id": "i", "receipt_id": 1, **ids}
    return Message(
        collection,
        entity_type,
        event_name,
        data,
        AT,
        "event-1",
        changes or {},
        sequence_number=sequence_number,
    )


def label(name: str, status: str, *, line_id: int = 2, at: str = "2026-01-01") -> WordLabel:
    """Give a label of word 3."""
    return WordLabel(line_id, 3, name, status, at, "somebody", 0.5)


def test_a_place_changes_every_record_of_its_receipt() -> None:
    """Under the names that metadata has; what is gone is cleared, not left."""
    changes = {
        "merchant_name": FieldChange("Old", "New"),
        "formatted_address": FieldChange("a", None),
        "reasoning": FieldChange("a", "b"),
    }
    found = changes_of(message(EntityType.RECEIPT_PLACE, changes=changes), Known(RECORDS))
    assert found.updates == {
        ROW: {
            "last_place_update": AT,
            "merchant_name": "New",
            "merchant_source": "receipt_place",
            "merchant_confidence": None,
            "address": None,
        }
    }


@pytest.mark.parametrize(("collection", "name"), [("lines", None), ("words", "")])
def test_a_place_that_goes_takes_its_fields_along(collection: str, name: str | None) -> None:
    """A word without a merchant has an empty name, a row has none, as readers expect."""
    told = message(EntityType.RECEIPT_PLACE, collection, "REMOVE")
    patch = changes_of(told, Known({"x": {}})).updates["x"]
    assert patch["merchant_name"] == name
    assert patch["place_removed_at"] == AT
    assert {patch[key] for key in ("address", "phone_number", "place_id")} == {None}


def test_a_label_says_all_that_its_word_has_now() -> None:
    """So that whichever message comes last leaves what the table has."""
    labels = [
        label("TAX", "VALID", at="2026-01-02"),
        label("DATE", "INVALID"),
        label("TIME", "PENDING"),
        label("OWN_NAME", "VALID"),
        label("COUPON", "VALID", line_id=9),
    ]
    told = message(EntityType.RECEIPT_WORD_LABEL, "words", line_id=2, word_id=3, label="TAX")
    assert changes_of(told, Known({}, labels)).updates == {
        WORD: {
            "label_status": "validated",
            "valid_labels_array": ["TAX"],
            "invalid_labels_array": ["DATE"],
            "label_confidence": 0.5,
            "label_proposed_by": "somebody",
            "label_validated_at": "2026-01-02",
            "last_label_update": AT,
        }
    }


def test_the_last_label_that_goes_leaves_an_unvalidated_word() -> None:
    """Nothing of it stays, and the status is the one of new records."""
    patch = word_patch([], at=AT)
    assert patch["label_status"] == "unvalidated"
    assert patch["valid_labels_array"] is None


def test_a_row_has_the_labels_of_all_its_lines() -> None:
    """The row that stands for the label's line, and no other."""
    records = {**RECORDS, "IMAGE#i#RECEIPT#00001#LINE#00009": {}}
    labels = [label("TAX", "VALID"), label("TAX", "INVALID", line_id=4), label("DATE", "PENDING")]
    told = message(EntityType.RECEIPT_WORD_LABEL, line_id=4, word_id=3, label="TAX")
    (found,) = changes_of(told, Known(records, labels)).updates.items()
    record_id, patch = found
    assert record_id == ROW
    assert patch["valid_labels_array"] == ["TAX"]
    assert patch["invalid_labels_array"] is None


def test_a_record_without_a_list_of_lines_stands_for_its_own() -> None:
    """As those have it that were made a line at a time."""
    assert row_lines(ROW, {}) == {2}
    assert row_lines(ROW, {"row_line_ids": "[1, 2]"}) == {1, 2}


def test_what_is_removed_is_deleted() -> None:
    """A receipt with all its records, a line and a word by name."""
    receipt = message(EntityType.RECEIPT, event_name="REMOVE")
    assert changes_of(receipt, Known(RECORDS)).deletes == [ROW]
    line = message(EntityType.RECEIPT_LINE, event_name="REMOVE", line_id=2)
    assert changes_of(line, Known({})).deletes == [ROW]
    word = message(EntityType.RECEIPT_WORD, "words", "REMOVE", line_id=2, word_id=3)
    assert changes_of(word, Known({})).deletes == [WORD]
    kept = message(EntityType.RECEIPT, event_name="MODIFY")
    assert not changes_of(kept, Known(RECORDS)).deletes


def test_a_message_is_the_same_run_however_often_it_comes() -> None:
    """And another one in the other collection, or for the item's next change."""
    one = message(EntityType.RECEIPT, event_name="REMOVE")
    assert run_id_of(one) == run_id_of(message(EntityType.RECEIPT, event_name="REMOVE"))
    others = [
        message(EntityType.RECEIPT, "words", "REMOVE"),
        message(EntityType.RECEIPT, event_name="REMOVE", sequence_number="1000"),
        message(EntityType.RECEIPT, event_name="REMOVE", sequence_number=""),
    ]
    assert len({run_id_of(each) for each in (one, *others)}) == 4
    assert run_id_of(one) < run_id_of(others[1])


def test_no_change_is_later_than_now() -> None:
    """Or it would win over everything that is written until then."""
    told = message(EntityType.RECEIPT)
    assert changed_at(told, now=NOW) == "2026-11-28T18:00:00.999999Z"
    ahead = NOW - dt.timedelta(days=1)
    assert changed_at(told, now=ahead) == "2026-11-27T18:00:05.000000Z"


def test_a_label_is_read_from_its_item() -> None:
    """And nothing else of a receipt is taken for one."""
    key = {"PK": "IMAGE#i", "SK": "RECEIPT#00001#LINE#00002#WORD#00003#LABEL#tax"}
    found = label_of({**key, "validation_status": "VALID", "timestamp_added": "2026-01-01"})
    assert found == WordLabel(2, 3, "TAX", "VALID", "2026-01-01", "", None)
    assert label_of({"PK": "IMAGE#i", "SK": "RECEIPT#00001"}) is None
