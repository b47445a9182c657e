"""Records: rows, words, anchors, merchant, vectors -> what is stored in ``lines`` and ``words``.

Ids and metadata keys are those of the existing pipeline, so its readers find what they look
for. Every key that starts with ``merchant_`` says what was known of other receipts when this
one was read; all other keys follow from the image alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chromaseal.embedding import Vectors
from chromaseal.errors import UsageError
from chromaseal.receipts.anchors import Anchors
from chromaseal.receipts.context import WordInContext
from chromaseal.receipts.merchant import Merchant
from chromaseal.receipts.model import Point
from chromaseal.receipts.rows import Row
from chromaseal.record import MetadataValue, Record, clean_text

LINES_COLLECTION = "lines"
WORDS_COLLECTION = "words"
SOURCE = "chromaseal"
LABEL_STATUS_OF_NEW_RECORDS = "unvalidated"
MEMORY_DEPENDENT_PREFIX = "merchant_"

_ID = re.compile(r"IMAGE#(.+)#RECEIPT#(\d{5,})#LINE#(\d{5,})(?:#WORD#(\d{5,}))?")


@dataclass(frozen=True, slots=True)
class ReceiptKey:
    """Which receipt, and which run brought it.

    Attributes:
        image_id: UUID of the image.
        receipt_id: which receipt on the image, from 1.
        run_id: the run that writes the records.
    """

    image_id: str
    receipt_id: int
    run_id: str

    def row_id(self, line_id: int) -> str:
        """Name the record of the row whose leftmost line is ``line_id``."""
        return f"IMAGE#{self.image_id}#RECEIPT#{self.receipt_id:05d}#LINE#{line_id:05d}"

    def word_id(self, line_id: int, word_id: int) -> str:
        """Name the record of a word."""
        return f"{self.row_id(line_id)}#WORD#{word_id:05d}"


@dataclass(frozen=True, slots=True)
class RecordId:
    """A record's id taken apart; ``word_id`` is None for a row's."""

    image_id: str
    receipt_id: int
    line_id: int
    word_id: int | None


def parse_record_id(text: str) -> RecordId:
    """Take a record's id apart.

    Raises:
        UsageError: the text is no id of a row's or word's record.
    """
    found = _ID.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{text!r} is not the id of a row or word.",
            kind="not-a-record-id",
            hint="ids look like IMAGE#<uuid>#RECEIPT#00001#LINE#00001#WORD#00001",
        )
    image_id, receipt_id, line_id, word_id = found.groups()
    return RecordId(image_id, int(receipt_id), int(line_id), int(word_id) if word_id else None)


def row_records(
    key: ReceiptKey,
    rows: Sequence[Row],
    vectors: Vectors,
    *,
    anchors: Anchors,
    merchant: Merchant | None,
) -> list[Record]:
    """Make the records of the collection ``lines``, one per visual row.

    Args:
        key: the receipt.
        rows: its visual rows.
        vectors: float32, shape (len(rows), dimension); row i embeds ``row_inputs(rows)[i]``.
        anchors: what was found in the rows.
        merchant: who issued the receipt, or None when nobody looked.

    Raises:
        UsageError: there is not one vector per row.
    """
    _check_one_vector_each(len(rows), vectors)
    return [
        Record(
            id=key.row_id(row.line_id),
            embedding=vector,
            document=clean_text(row.text),
            metadata=_row_metadata(key, row)
            | anchors.metadata_of_lines({line.line_id for line in row.lines})
            | (_merchant_metadata(merchant) if merchant is not None and merchant.name else {}),
        )
        for row, vector in zip(rows, vectors, strict=True)
    ]


def word_records(
    key: ReceiptKey,
    words: Sequence[WordInContext],
    vectors: Vectors,
    *,
    anchors: Anchors,
    merchant: Merchant | None,
) -> list[Record]:
    """Make the records of the collection ``words``, one per word.

    Args:
        key: the receipt.
        words: its words with their neighbours.
        vectors: float32, shape (len(words), dimension); row i embeds word i's input.
        anchors: what was found in the rows.
        merchant: who issued the receipt, or None when nobody looked.

    Raises:
        UsageError: there is not one vector per word.
    """
    _check_one_vector_each(len(words), vectors)
    return [
        Record(
            id=key.word_id(entry.line_id, entry.word.word_id),
            embedding=vector,
            document=clean_text(entry.word.text),
            metadata=_word_metadata(key, entry)
            | anchors.metadata_of_word(entry.line_id, entry.word.word_id)
            | _merchant_metadata(merchant),
        )
        for entry, vector in zip(words, vectors, strict=True)
    ]


def follows_from_image(metadata: Mapping[str, MetadataValue]) -> dict[str, MetadataValue]:
    """Leave out what depends on other receipts, so that two readings can be compared."""
    return {k: v for k, v in metadata.items() if not k.startswith(MEMORY_DEPENDENT_PREFIX)}


def _row_metadata(key: ReceiptKey, row: Row) -> dict[str, MetadataValue]:
    return _shared_metadata(key) | {
        "line_id": row.line_id,
        "text": clean_text(row.text),
        "confidence": row.confidence,
        "avg_word_confidence": row.confidence,
        **_place(Point(row.box.x, row.box.y), row.box.width, row.box.height),
        "row_line_ids": json.dumps([line.line_id for line in row.lines]),
    }


def _word_metadata(key: ReceiptKey, entry: WordInContext) -> dict[str, MetadataValue]:
    box = entry.word.quad.box()
    return _shared_metadata(key) | {
        "line_id": entry.line_id,
        "word_id": entry.word.word_id,
        "text": clean_text(entry.word.text),
        "confidence": entry.word.confidence,
        **_place(entry.word.quad.centroid(), box.width, box.height),
        "left": clean_text(entry.left[1]),
        "right": clean_text(entry.right[0]),
    }


def _shared_metadata(key: ReceiptKey) -> dict[str, MetadataValue]:
    return {
        "image_id": key.image_id,
        "receipt_id": key.receipt_id,
        "run_id": key.run_id,
        "source": SOURCE,
        "label_status": LABEL_STATUS_OF_NEW_RECORDS,
    }


def _place(at: Point, width: float, height: float) -> dict[str, MetadataValue]:
    return {"x": at.x, "y": at.y, "width": width, "height": height}


def _merchant_metadata(merchant: Merchant | None) -> dict[str, MetadataValue]:
    """Words carry an empty name when none is known, as the existing readers expect."""
    if merchant is None or not merchant.name:
        return {"merchant_name": ""}
    return {
        "merchant_name": merchant.name,
        "merchant_source": merchant.source,
        "merchant_confidence": merchant.confidence,
    }


def _check_one_vector_each(expected: int, vectors: Vectors) -> None:
    if len(vectors) != expected:
        raise UsageError(
            f"{expected} records need {expected} vectors, not {len(vectors)}.",
            kind="vectors-do-not-match",
        )
