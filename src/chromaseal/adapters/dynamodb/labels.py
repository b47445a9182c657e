"""A receipt -> the labels of its words, as the receipts table has them now."""

from __future__ import annotations

from chromaseal.adapters.dynamodb.table import Table
from chromaseal.stream.labels import WordLabel, label_of


def labels_of(table: Table, image_id: str, receipt_id: int) -> list[WordLabel]:
    """Read all labels of a receipt's words.

    Args:
        table: of the receipts.
        image_id: of the image.
        receipt_id: which receipt on it.

    Raises:
        Unavailable: ``ledger-unavailable``.
    """
    items = table.query(f"IMAGE#{image_id}", prefix=f"RECEIPT#{receipt_id:05d}#LINE#")
    return [label for item in items if (label := label_of(item)) is not None]
