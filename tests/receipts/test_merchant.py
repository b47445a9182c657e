"""Merchant: read off the top, or remembered by phone, address or name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromaseal.adapters.rapidfuzz.text_similarity import RapidFuzzSimilarity
from chromaseal.receipts.anchors import find_anchors
from chromaseal.receipts.merchant import Merchant, resolve_merchant
from chromaseal.receipts.merchant_memory import MemoryCandidate, MemoryQuery, QueryKind
from chromaseal.receipts.model import Line, Point, Quad, Reading, Word
from chromaseal.receipts.rows import visual_rows
from chromaseal.receipts.top_lines import name_from_top
from chromaseal.record import Metadata

_HEIGHT = 0.02


def _reading(*rows: str, heights: Sequence[float] = ()) -> Reading:
    """Set rows of text from the top down; ``heights`` enlarges the first ones."""
    lines = []
    for index, text in enumerate(rows):
        height = heights[index] if index < len(heights) else _HEIGHT
        y = 0.95 - index * 0.06
        quad = Quad(Point(0.1, y + height), Point(0.9, y + height), Point(0.9, y), Point(0.1, y))
        words = tuple(Word(i, t, quad, 0.99) for i, t in enumerate(text.split(), start=1))
        lines.append(Line(index + 1, text, quad, 0.99, words))
    return Reading("test", 600, 1200, 0, tuple(lines))


def _name(*rows: str, heights: Sequence[float] = ()) -> str:
    reading = _reading(*rows, heights=heights)
    found = name_from_top(reading, visual_rows(reading.lines))
    return "" if found is None else found.text


@dataclass
class _Memory:
    """Answers every query of a kind with the same candidates, and remembers what was asked."""

    answers: dict[QueryKind, list[MemoryCandidate]]
    asked: list[MemoryQuery] = field(default_factory=list)

    def nearest(
        self, queries: Sequence[MemoryQuery], limit: int
    ) -> Sequence[Sequence[MemoryCandidate]]:
        self.asked += queries
        return [self.answers.get(query.kind, [])[:limit] for query in queries]


def _candidate(
    name: str, metadata: Metadata | None = None, distance: float = 0.1, image_id: str = "old"
) -> MemoryCandidate:
    return MemoryCandidate(f"{image_id}-row", name, image_id, 1, "text", distance, metadata or {})


def _resolve(reading: Reading, memory: _Memory | None) -> Merchant:
    rows = visual_rows(reading.lines)
    return resolve_merchant(
        reading,
        rows,
        find_anchors(rows),
        np.zeros((len(rows), 4), np.float32),
        image_id="mine",
        receipt_id=1,
        memory=memory,
        similarity=RapidFuzzSimilarity(),
    )


_SHOP = (
    "ACNE TOOLS SDN BHD (123456-X)",
    "NO 12, JALAN CONTOH,",
    "53200, KUALA LUMPUR.",
    "TEL: 03-5512 3456",
    "01/10/2017",
    "TOTAL 31.32",
)
_PHONE = {"normalized_phone": "60355123456"}


# --- from the top -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (("ACME TOOLS SDN BHD (123456-X)", "NO 1, JALAN A,"), "ACME TOOLS SDN BHD"),
        (("TAX INVOICE", "ACME TOOLS", "Tel: 03-55123456"), "ACME TOOLS"),
        (("Cash Sale", "ACME SDN. BHD.(2-19336-T)"), "ACME SDN. BHD."),
        (("31803057", "ACME CAFE", "01/02/2018"), "ACME CAFE"),
        (("ACME @ 1 MALL", "BLUE CRUMBS SDN BHD (562007-D)"), "BLUE CRUMBS SDN BHD"),
        (("TQ FOR SHOPPING WITH acme.com", "ACME RETAIL SB(306295-X) FKA X SB"), "ACME RETAIL SB"),
        (("ACME PREMIUM TOOLS", "(M) SDN BHD", "12345-X"), "ACME PREMIUM TOOLS (M) SDN BHD"),
        (("ACME MEGA GROCER", "LOT 5, JALAN B", "Owned By:", "ZED SDN BHD"), "ACME MEGA GROCER"),
        (("50 SPEED MART 5/B (519537-X)", "LOT 1, JALAN C"), "50 SPEED MART S/B"),
        (("259 W. Example St", "Athens, GA 30601", "706-548-0000"), ""),
        ((), ""),
    ],
)
def test_names_are_read_off_the_top(rows: tuple[str, ...], name: str) -> None:
    """Past headings, numbers and slogans; without registration numbers; over two lines."""
    assert _name(*rows) == name


def test_large_letters_win_over_a_slogan_above() -> None:
    """A logo is larger than what stands around it."""
    assert _name("Fresh every day", "acme", "more text", heights=(0.01, 0.05, 0.01)) == "acme"


def test_the_top_is_where_y_is_largest() -> None:
    """The last row of the receipt is not its first line."""
    assert _name("ACME", "Item", "Goodbye Friends") == "ACME"


@given(st.lists(st.text(max_size=30), max_size=10))
def test_any_text_gives_a_name_or_none(texts: list[str]) -> None:
    """No noise breaks the reading, and confidence stays within 0 and 1."""
    reading = _reading(*texts)
    found = name_from_top(reading, visual_rows(reading.lines))
    assert found is None or 0 <= found.confidence <= 1


def test_without_memory_the_top_decides() -> None:
    """Title case, the receipt's own facts, and the reason in words."""
    merchant = _resolve(_reading(*_SHOP), None)
    assert (merchant.name, merchant.source) == ("Acne Tools Sdn Bhd", "top-lines")
    assert (merchant.date, merchant.total, merchant.phone) == ("2017-10-01", "31.32", "0355123456")
    assert merchant.address == "NO 12 JALAN CONTOH 53200 KUALA LUMPUR"
    assert "company form" in merchant.explanation


def test_nothing_readable_gives_no_merchant() -> None:
    """An empty name, source none, confidence 0."""
    merchant = _resolve(_reading("12.50", "***"), None)
    assert (merchant.name, merchant.source, merchant.confidence) == ("", "none", 0.0)


# --- from memory ------------------------------------------------------------------------------


def test_an_equal_phone_gives_the_usual_spelling() -> None:
    """Two earlier receipts outvote this receipt's own garbled reading."""
    phones = [_candidate("Acme Tools Sdn Bhd", _PHONE, image_id=i) for i in ("a", "b")]
    merchant = _resolve(_reading(*_SHOP), _Memory({"phone": phones}))
    assert (merchant.name, merchant.source) == ("Acme Tools Sdn Bhd", "memory-phone")


def test_one_earlier_spelling_does_not_beat_the_own_reading() -> None:
    """Otherwise one garbled name would be handed on for ever."""
    memory = _Memory({"phone": [_candidate("Acme Tools Sdn Bhd", _PHONE)]})
    merchant = _resolve(_reading(*_SHOP), memory)
    assert (merchant.name, merchant.source) == ("Acne Tools Sdn Bhd", "memory-phone")


def test_a_near_row_with_another_phone_is_no_match() -> None:
    """Rows with phones are all alike; only the digits tell shops apart."""
    memory = _Memory({"phone": [_candidate("Acme Tools", {"normalized_phone": "0399999999"}, 0.0)]})
    assert _resolve(_reading(*_SHOP), memory).source == "top-lines"


def test_a_similar_address_is_enough() -> None:
    """A slip of OCR in it does not matter; a name that is nowhere in the text does."""
    stored = {"normalized_full_address": "NO 12 JALAN C0NTOH 53200 KUALA LUMPUR"}
    near = _Memory({"address": [_candidate("Acme Tools Sdn Bhd", stored)]})
    neighbour = _Memory({"address": [_candidate("Golden Noodle House", stored)]})
    assert _resolve(_reading(*_SHOP), near).source == "memory-address"
    assert _resolve(_reading(*_SHOP), neighbour).source == "top-lines"


def test_near_text_must_be_the_same_name() -> None:
    """Near vectors of another name, or of another number in it, decide nothing."""
    same = _Memory({"text": [_candidate("Acme Tools Sdn Bhd")]})
    other = _Memory({"text": [_candidate("Apex Books Sdn Bhd", distance=0.0)]})
    numbered = _Memory({"text": [_candidate("99 Speed Mart", distance=0.0)]})
    assert _resolve(_reading(*_SHOP), same).source == "memory-text"
    assert _resolve(_reading(*_SHOP), other).source == "top-lines"
    assert _resolve(_reading("88 SPEED MART", "LOT 1, JALAN C"), numbered).name == "88 Speed Mart"


def test_phone_comes_before_address_before_text() -> None:
    """The ladder's first rung that holds decides."""
    stored = {"normalized_full_address": "NO 12 JALAN CONTOH 53200 KUALA LUMPUR"}
    answers: dict[QueryKind, list[MemoryCandidate]] = {
        "text": [_candidate("Acme Tools Sdn Bhd")],
        "address": [_candidate("Acme Tools Sdn Bhd", stored)],
        "phone": [_candidate("Acme Tools Sdn Bhd", _PHONE)],
    }
    for source in ("memory-phone", "memory-address", "memory-text"):
        assert _resolve(_reading(*_SHOP), _Memory(answers)).source == source
        answers.popitem()


def test_the_receipt_itself_is_no_memory() -> None:
    """Its own records, from an earlier run, never confirm it."""
    memory = _Memory({"phone": [_candidate("Acme Tools", _PHONE, image_id="mine")]})
    assert _resolve(_reading(*_SHOP), memory).source == "top-lines"


@pytest.mark.parametrize(
    "candidate", [_candidate(""), _candidate("X", {"merchant_confidence": 0.3})]
)
def test_unnamed_and_guessed_rows_teach_nothing(candidate: MemoryCandidate) -> None:
    """Neither an empty name nor one that was itself unsure."""
    memory = _Memory({"text": [candidate], "phone": [candidate]})
    assert _resolve(_reading(*_SHOP), memory).source == "top-lines"


def test_a_logo_that_ocr_missed_is_remembered_by_phone() -> None:
    """A one-word name needs no word of it in the text when the phone is equal."""
    reading = _reading("Fine food", "259 W. Example St", "Athens, GA 30601", "706-548-0000")
    memory = _Memory({"phone": [_candidate("Zaxley", {"normalized_phone": "7065480000"})]})
    assert _resolve(reading, memory).name == "Zaxley"


def test_far_rows_do_not_count() -> None:
    """Below 0.70, boosts included, even an equal phone is not enough."""
    far = _Memory({"phone": [_candidate("Acme Tools Sdn Bhd", _PHONE, distance=1.2)]})
    assert _resolve(_reading(*_SHOP), far).source == "top-lines"


def test_memory_is_asked_once_with_phone_address_and_name() -> None:
    """One call serves all rows; the phone's digits go along."""
    memory = _Memory({})
    _resolve(_reading(*_SHOP), memory)
    assert [query.kind for query in memory.asked] == ["phone", "address", "address", "text"]
    assert memory.asked[0].phone == "0355123456"
