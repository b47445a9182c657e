"""Visual rows: every line once, top first, left to right."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from chromaseal.receipts.model import Line, Point, Quad
from chromaseal.receipts.rows import visual_rows

_FRACTIONS = st.floats(0.0, 0.9, allow_nan=False)
_SIZES = st.floats(0.01, 0.1, allow_nan=False)


def _line(line_id: int, text: str, x: float, y: float, height: float = 0.02) -> Line:
    quad = Quad(Point(x, y + height), Point(x + 0.1, y + height), Point(x + 0.1, y), Point(x, y))
    return Line(line_id, text, quad, 0.5 + line_id / 1000, ())


@st.composite
def _lines(draw: st.DrawFn) -> list[Line]:
    places = draw(st.lists(st.tuples(_FRACTIONS, _FRACTIONS, _SIZES), max_size=20))
    return [_line(i, f"t{i}", *place) for i, place in enumerate(places, start=1)]


@given(_lines())
def test_rows_partition_the_lines(lines: list[Line]) -> None:
    """No line is lost, none is in two rows."""
    rows = visual_rows(lines)
    assert sorted(line.line_id for row in rows for line in row.lines) == [
        line.line_id for line in lines
    ]


@given(_lines(), st.randoms(use_true_random=False))
def test_order_of_input_does_not_matter(lines: list[Line], chance: random.Random) -> None:
    """Rows depend on where lines stand, not on the order they came in."""
    shuffled = list(lines)
    chance.shuffle(shuffled)
    assert visual_rows(shuffled) == visual_rows(lines)


@given(_lines())
def test_primary_line_is_the_leftmost_and_names_the_row_alone(lines: list[Line]) -> None:
    """Row ids are unique, and each is the id of the line with the smallest x."""
    rows = visual_rows(lines)
    assert len({row.line_id for row in rows}) == len(rows)
    for row in rows:
        assert row.line_id == row.lines[0].line_id
        assert row.lines[0].quad.box().x == min(line.quad.box().x for line in row.lines)


@given(_lines())
def test_rows_come_top_first(lines: list[Line]) -> None:
    """Mean y falls from row to row."""
    means = [
        sum(line.quad.box().y for line in row.lines) / len(row.lines) for row in visual_rows(lines)
    ]
    assert means == sorted(means, reverse=True)


def test_label_and_amount_are_one_row() -> None:
    """Two lines side by side become one text with one space, a union box and a mean confidence."""
    amount, label = _line(1, "5.00", 0.7, 0.5), _line(2, "TOTAL", 0.1, 0.495)
    (row,) = visual_rows([amount, label])
    assert (row.line_id, row.text) == (2, "TOTAL 5.00")
    assert (row.box.x, row.box.y) == (0.1, 0.495)
    assert row.confidence == (amount.confidence + label.confidence) / 2


def test_rows_are_connected_groups() -> None:
    """Two lines too far apart to be neighbours share a row through a third between them."""
    low, between, high = _line(1, "a", 0, 0.5), _line(2, "b", 0.3, 0.509), _line(3, "c", 0.6, 0.518)
    assert len(visual_rows([low, high])) == 2
    assert [row.text for row in visual_rows([low, high, between])] == ["a b c"]
