"""Records: ids and metadata that the existing readers understand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromaseal.errors import UsageError
from chromaseal.receipts.anchors import find_anchors
from chromaseal.receipts.context import words_in_context
from chromaseal.receipts.merchant import Merchant
from chromaseal.receipts.model import Line, Point, Quad, Word
from chromaseal.receipts.records import (
    ReceiptKey,
    follows_from_image,
    parse_record_id,
    row_records,
    word_records,
)
from chromaseal.receipts.rows import visual_rows
from chromaseal.record import Record

_KEY = ReceiptKey("0c9d7a8e-0000-4000-8000-000000000001", 1, "run-1")
_MERCHANT = Merchant("Acme Tools", 0.9, "top-lines")


def _quad(x: float, y: float, width: float) -> Quad:
    return Quad(Point(x, y + 0.02), Point(x + width, y + 0.02), Point(x + width, y), Point(x, y))


def _line(line_id: int, text: str, x: float, y: float) -> Line:
    words = tuple(
        Word(i, token, _quad(x + 0.1 * i, y, 0.08), 0.8)
        for i, token in enumerate(text.split(" "), start=1)
    )
    return Line(line_id, text, _quad(x, y, 0.3), 0.9, words)


_LINES = (
    _line(1, "ACME TOOLS", 0.1, 0.9),
    _line(2, "5.00", 0.7, 0.5),
    _line(3, "TOTAL", 0.1, 0.5),
    _line(4, "Tel: 03-55123456", 0.1, 0.4),
)


def _records(merchant: Merchant | None = _MERCHANT) -> tuple[list[Record], list[Record]]:
    rows, words = visual_rows(_LINES), words_in_context(_LINES)
    anchors = find_anchors(rows)
    row_vectors = np.arange(len(rows) * 3, dtype=np.float32).reshape(-1, 3)
    word_vectors = np.arange(len(words) * 3, dtype=np.float32).reshape(-1, 3)
    return (
        row_records(_KEY, rows, row_vectors, anchors=anchors, merchant=merchant),
        word_records(_KEY, words, word_vectors, anchors=anchors, merchant=merchant),
    )


def test_ids_are_unique_and_named_as_in_the_existing_pipeline() -> None:
    """Rows by their leftmost line, words by line and word, five digits each."""
    rows, words = _records()
    prefix = f"IMAGE#{_KEY.image_id}#RECEIPT#00001#LINE#"
    assert [r.id for r in rows] == [prefix + n for n in ("00001", "00003", "00004")]
    assert words[0].id == prefix + "00001#WORD#00001"
    assert len({r.id for r in rows + words}) == len(rows + words)


@given(st.uuids(), st.integers(1, 99999), st.integers(1, 99999), st.integers(1, 99999))
def test_ids_can_be_taken_apart_again(
    image_id: object, receipt_id: int, line_id: int, word_id: int
) -> None:
    """Parsing gives back what the id was made of."""
    key = ReceiptKey(str(image_id), receipt_id, "run")
    word, row = parse_record_id(key.word_id(line_id, word_id)), parse_record_id(key.row_id(line_id))
    assert (word.image_id, word.receipt_id, word.line_id) == (str(image_id), receipt_id, line_id)
    assert (word.word_id, row.word_id) == (word_id, None)


def test_a_foreign_id_is_refused() -> None:
    """Anything else is a usage error, not a wrong answer."""
    with pytest.raises(UsageError):
        parse_record_id("IMAGE#x#LINE#1")


def test_row_metadata_has_the_known_keys() -> None:
    """Lower left corner, JSON list of line ids, mean confidence, anchors where they stand."""
    rows, _ = _records()
    assert dict(rows[1].metadata) == {
        "image_id": _KEY.image_id,
        "receipt_id": 1,
        "run_id": "run-1",
        "source": "chromaseal",
        "label_status": "unvalidated",
        "line_id": 3,
        "text": "TOTAL 5.00",
        "confidence": 0.9,
        "avg_word_confidence": 0.9,
        "x": 0.1,
        "y": 0.5,
        "width": pytest.approx(0.9),
        "height": pytest.approx(0.02),
        "row_line_ids": "[3, 2]",
        "merchant_name": "Acme Tools",
        "merchant_source": "top-lines",
        "merchant_confidence": 0.9,
    }
    assert rows[2].metadata["normalized_phone"] == "0355123456"
    assert json.loads(str(rows[0].metadata["row_line_ids"])) == [1]


def test_word_metadata_has_the_known_keys() -> None:
    """Centroid, neighbours on both sides, text as document."""
    _, words = _records()
    metadata = words[1].metadata
    assert words[1].document == metadata["text"] == "TOOLS"
    assert (metadata["left"], metadata["right"]) == ("ACME", "<EDGE>")
    assert (metadata["line_id"], metadata["word_id"]) == (1, 2)
    assert [metadata["x"], metadata["y"]] == pytest.approx([0.34, 0.91])
    assert metadata["confidence"] == 0.8


def test_an_unknown_merchant_is_empty_for_words_and_absent_for_rows() -> None:
    """As the existing readers expect; no value is ever None."""
    for merchant in (None, Merchant("", 0.0, "none")):
        rows, words = _records(merchant)
        assert all(record.metadata["merchant_name"] == "" for record in words)
        assert not any("merchant_name" in record.metadata for record in rows)
        assert not any(v is None for r in rows + words for v in r.metadata.values())


def test_only_merchant_keys_depend_on_other_receipts() -> None:
    """Two merchants, one image: everything else is equal, vectors and documents too."""
    one, other = _records(), _records(replace(_MERCHANT, name="Ace", source="memory-phone"))
    for mine, theirs in zip(one[0] + one[1], other[0] + other[1], strict=True):
        assert follows_from_image(mine.metadata) == follows_from_image(theirs.metadata)
        assert mine.metadata != theirs.metadata
        assert mine.document == theirs.document
        assert np.array_equal(mine.embedding, theirs.embedding)


def test_text_that_cannot_be_stored_is_cleaned() -> None:
    """A NUL in a text reaches neither document nor metadata."""
    lines = [_line(1, "TO\x00TAL", 0.1, 0.5)]
    rows = visual_rows(lines)
    (record,) = row_records(
        _KEY, rows, np.zeros((1, 3), np.float32), anchors=find_anchors(rows), merchant=None
    )
    assert record.document == record.metadata["text"] == "TOTAL"


def test_vectors_must_match_records() -> None:
    """One vector too few is an error before anything is made."""
    rows = visual_rows(_LINES)
    with pytest.raises(UsageError):
        row_records(
            _KEY, rows, np.zeros((1, 3), np.float32), anchors=find_anchors(rows), merchant=None
        )
