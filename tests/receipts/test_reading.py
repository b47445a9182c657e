"""What engines find becomes readings: cleaned, ordered, inside the page, and stored exactly."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromaseal.errors import Damaged
from chromaseal.receipts.ocr import PixelLine, PixelQuad, PixelReading, PixelWord, part_of_quad
from chromaseal.receipts.reading import reading_from_json, reading_of, reading_to_json

WIDTH_PX = 400
HEIGHT_PX = 800


def box(left: float, top: float, width: float, height: float = 20) -> PixelQuad:
    right, bottom = left + width, top + height
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def tilted(quad: PixelQuad, degrees: float) -> PixelQuad:
    radians = math.radians(degrees)
    cosine, sine = math.cos(radians), math.sin(radians)
    a, b, c, d = ((x * cosine + y * sine + 60, y * cosine - x * sine + 60) for x, y in quad)
    return (a, b, c, d)


def page(*lines: PixelLine) -> PixelReading:
    return PixelReading(0, WIDTH_PX, HEIGHT_PX, lines)


coordinates = st.floats(-50, 900, allow_nan=False)
quads = st.tuples(*[st.tuples(coordinates, coordinates)] * 4)
confidences = st.floats(0, 1)
texts = st.text(max_size=12)
pixel_lines = st.builds(
    PixelLine,
    text=texts,
    quad=quads,
    confidence=confidences,
    words=st.lists(st.builds(PixelWord, texts, quads, confidences), max_size=3).map(tuple),
)
pages = st.builds(
    PixelReading,
    st.sampled_from((0, 90, 180, 270)),
    st.integers(1, 900),
    st.integers(1, 900),
    st.lists(pixel_lines, max_size=8).map(tuple),
)


@given(pages)
def test_ids_text_and_corners_always_keep_their_rules(found: PixelReading) -> None:
    """Ids count from 1, text is clean and not empty, words spell it, corners are in 0..1."""
    reading = reading_of("engine 1", found)
    assert [line.line_id for line in reading.lines] == list(range(1, len(reading.lines) + 1))
    for line in reading.lines:
        assert line.text == " ".join(line.text.split()) != ""
        assert "\x00" not in line.text
        assert [word.word_id for word in line.words] == list(range(1, len(line.words) + 1))
        spelled = "".join(word.text for word in line.words).replace(" ", "")
        assert spelled == line.text.replace(" ", "")
        for quad in (line.quad, *(word.quad for word in line.words)):
            assert all(
                0 <= value <= 1 for corner in quad.corners() for value in (corner.x, corner.y)
            )


@given(pages, st.randoms(use_true_random=False))
def test_order_does_not_depend_on_the_engine(found: PixelReading, chance: st.DataObject) -> None:
    """However an engine orders its lines, the reading's texts come in one order."""
    shuffled = list(found.lines)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    other = PixelReading(found.turned_degrees, found.width_px, found.height_px, tuple(shuffled))
    one, two = reading_of("engine", found), reading_of("engine", other)
    assert [line.text for line in one.lines] == [line.text for line in two.lines]


@given(pages)
def test_json_gives_back_the_very_same_reading(found: PixelReading) -> None:
    """A reading that went through JSON text is equal in every bit."""
    reading = reading_of("engine 1", found)
    assert reading_from_json(json.loads(json.dumps(reading_to_json(reading)))) == reading


def test_y_grows_upward_from_the_bottom() -> None:
    """Pixels from the top left become fractions from the bottom left."""
    (line,) = reading_of("engine", page(PixelLine("TOP", box(40, 0, 100, 80), 0.9))).lines
    assert (line.quad.top_left.x, line.quad.top_left.y) == (0.1, 1.0)
    assert (line.quad.bottom_right.x, line.quad.bottom_right.y) == (0.35, 0.9)


@pytest.mark.parametrize("degrees", [-4, -2, 0, 2, 4])
def test_a_tilted_page_is_read_row_by_row(degrees: float) -> None:
    """Rows stay rows on tilted paper: each item comes right before its amount."""
    lines = [
        PixelLine(text, tilted(box(left, 30 * row, 80), degrees), 1.0)
        for row in range(12)
        for left, text in ((250, f"amount {row}"), (0, f"item {row}"))
    ]
    reading = reading_of("engine", page(*lines))
    expected = [f"{kind} {row}" for row in range(12) for kind in ("item", "amount")]
    assert [line.text for line in reading.lines] == expected


def test_words_that_do_not_spell_the_line_are_replaced() -> None:
    """Where the engine's words disagree with its text, the text is cut and placed along it."""
    wrong = (PixelWord("TOTA", box(0, 0, 50), 0.5),)
    line = PixelLine("TOTAL 9.50", box(0, 0, 100), 0.9, wrong)
    (read,) = reading_of("engine", page(line)).lines
    assert [word.text for word in read.words] == ["TOTAL", "9.50"]
    assert read.words[0].quad.top_right.x == pytest.approx(50 / WIDTH_PX)
    assert read.words[1].quad.top_left.x == pytest.approx(60 / WIDTH_PX)
    assert read.words[1].confidence == 0.9


def test_words_that_spell_the_line_are_kept() -> None:
    """The engine's own word boxes survive when they agree with the text."""
    words = (PixelWord("A", box(3, 0, 7), 0.4), PixelWord("B", box(91, 0, 8), 0.6))
    (read,) = reading_of("engine", page(PixelLine("A B", box(0, 0, 100), 0.5, words))).lines
    assert [word.confidence for word in read.words] == [0.4, 0.6]
    assert read.words[1].quad.top_left.x == pytest.approx(91 / WIDTH_PX)


def test_text_that_breaks_stores_never_gets_in() -> None:
    """NUL bytes go, lone surrogates become U+FFFD, and lines of nothing else are dropped."""
    lines = (
        PixelLine("\x00 \n", box(0, 0, 9), 1.0),
        PixelLine("a\x00b\ud800\tc", box(0, 40, 9), 1),
    )
    (read,) = reading_of("engine", page(*lines)).lines
    assert read.text == "ab\ufffd c"


@given(quads, st.floats(0, 1), st.floats(0, 1))
def test_a_whole_quad_is_its_own_part(quad: PixelQuad, one: float, other: float) -> None:
    """Cutting from 0 to 1 changes nothing, and any cut stays between the ends."""
    assert part_of_quad(quad, 0.0, 1.0)[0] == quad[0]
    start, end = sorted((one, other))
    left, right = sorted((quad[0][0], quad[1][0]))
    for x, _ in part_of_quad(quad, start, end)[:2]:
        assert left - 1e-6 <= x <= right + 1e-6


@pytest.mark.parametrize("raw", [{}, {"engine": "x", "lines": 5}, {"engine": "x", "lines": [{}]}])
def test_a_damaged_reading_is_named_so(raw: dict[str, object]) -> None:
    """Stored data that is no reading is an error of its own, not a crash."""
    with pytest.raises(Damaged) as caught:
        reading_from_json({"width_px": 1, "height_px": 1, "turned_degrees": 0, **raw})
    assert caught.value.kind == "bad-reading"
