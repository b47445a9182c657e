"""Labels of words -> what the metadata of words and rows says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from chromaseal.record import MetadataPatch, MetadataValue
from chromaseal.stream.table import EntityType, Item, entity_of

VALID: Final = "VALID"
INVALID: Final = "INVALID"
PENDING: Final = "PENDING"
CORE_LABELS: Final = frozenset(
    (
        *("MERCHANT_NAME", "STORE_HOURS", "PHONE_NUMBER", "WEBSITE", "LOYALTY_ID"),
        *("ADDRESS_LINE", "DATE", "TIME", "PAYMENT_METHOD", "COUPON", "DISCOUNT"),
        *("PRODUCT_NAME", "QUANTITY", "UNIT_PRICE", "LINE_TOTAL"),
        *("SUBTOTAL", "TAX", "GRAND_TOTAL"),
    )
)


@dataclass(frozen=True, slots=True)
class WordLabel:
    """One label of one word.

    Attributes:
        line_id: of the word.
        word_id: which word of the line.
        label: upper case.
        status: ``VALID``, ``INVALID``, ``PENDING`` or another.
        added_at: ISO 8601.
        proposed_by: who proposed it; empty if unknown.
        confidence: of whoever proposed it; None if unknown.
    """

    line_id: int
    word_id: int
    label: str
    status: str
    added_at: str
    proposed_by: str
    confidence: float | None


def label_of(item: Item) -> WordLabel | None:
    """Read a label's item; None for any other item."""
    entity = entity_of(str(item["PK"]), str(item["SK"]))
    if entity is None or entity.type is not EntityType.RECEIPT_WORD_LABEL:
        return None
    confidence = item.get("confidence")
    return WordLabel(
        line_id=int(entity.ids["line_id"]),
        word_id=int(entity.ids["word_id"]),
        label=str(entity.ids["label"]).upper(),
        status=str(item.get("validation_status") or ""),
        added_at=str(item.get("timestamp_added") or ""),
        proposed_by=str(item.get("label_proposed_by") or ""),
        confidence=None if confidence is None else float(confidence),
    )


def word_patch(labels: Sequence[WordLabel], *, at: str) -> MetadataPatch:
    """Say all that a word's metadata has of its labels; what it has no more is cleared.

    Args:
        labels: all of the word's, as they are now.
        at: when the last change was, ISO 8601.
    """
    pending = _newest(labels, PENDING)
    valid = _newest(labels, VALID)
    return {
        **row_patch(labels, at=at),
        "label_confidence": pending.confidence if pending else None,
        "label_proposed_by": (pending.proposed_by or None) if pending else None,
        "label_validated_at": (valid.added_at or None) if valid else None,
    }


def row_patch(labels: Sequence[WordLabel], *, at: str) -> MetadataPatch:
    """Say what a row's metadata has of the labels of all its words.

    Args:
        labels: of all words of the row, as they are now.
        at: when the last change was, ISO 8601.
    """
    valid = _named(labels, VALID)
    return {
        "label_status": _status(labels),
        "valid_labels_array": _array(valid),
        "invalid_labels_array": _array(_named(labels, INVALID) - valid),
        "last_label_update": at,
    }


def _status(labels: Iterable[WordLabel]) -> str:
    statuses = {label.status for label in labels}
    if VALID in statuses:
        return "validated"
    return "auto_suggested" if PENDING in statuses else "unvalidated"


def _named(labels: Iterable[WordLabel], status: str) -> set[str]:
    return {each.label for each in labels if each.status == status and each.label in CORE_LABELS}


def _array(names: set[str]) -> MetadataValue | None:
    # ChromaDB takes no empty list.
    return sorted(names) or None


def _newest(labels: Iterable[WordLabel], status: str) -> WordLabel | None:
    found = [label for label in labels if label.status == status]
    return max(found, key=lambda label: (label.added_at, label.label), default=None)
