"""What the receipts table has of the labels of words, as the functions read it."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from chromaseal.adapters.dynamodb.labels import labels_of
from chromaseal.adapters.dynamodb.place import parse
from chromaseal.adapters.dynamodb.table import Table, connect
from chromaseal.clock import SystemClock
from chromaseal.ids import SystemIds

IMAGE_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


def test_a_receipts_labels_are_those_of_its_own_words(
    table: Any,  # noqa: ANN401
    dynamodb_url: str,
) -> None:
    """Not those of the receipt beside it, nor the words themselves; as they are at this moment."""
    for receipt_id, word_id, label in ((7, 1, "merchant"), (7, 2, "total"), (8, 1, "date")):
        word = f"RECEIPT#{receipt_id:05d}#LINE#00001#WORD#{word_id:05d}"
        table.put_item(Item={"PK": f"IMAGE#{IMAGE_ID}", "SK": word, "TYPE": "RECEIPT_WORD"})
        table.put_item(
            Item={
                "PK": f"IMAGE#{IMAGE_ID}",
                "SK": f"{word}#LABEL#{label.upper()}",
                "TYPE": "RECEIPT_WORD_LABEL",
                "validation_status": "VALID",
                "timestamp_added": "2026-11-23T12:00:00",
            }
        )
    place = parse(dynamodb_url)
    with closing(connect(place)) as client:
        labels = Table(place, client, clock=SystemClock(), ids=SystemIds())
        found = labels_of(labels, IMAGE_ID, 7)
        assert [(each.word_id, each.label, each.status) for each in found] == [
            (1, "MERCHANT", "VALID"),
            (2, "TOTAL", "VALID"),
        ]
        table.delete_item(
            Key={
                "PK": f"IMAGE#{IMAGE_ID}",
                "SK": "RECEIPT#00007#LINE#00001#WORD#00001#LABEL#MERCHANT",
            }
        )
        assert [each.label for each in labels_of(labels, IMAGE_ID, 7)] == ["TOTAL"]
        assert labels_of(labels, IMAGE_ID, 9) == []
