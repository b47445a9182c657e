"""Tilted pages: rows and neighbours as on the level page, boxes as on the tilted one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromaseal.receipts.model import Line, Point, Quad, Reading, Word
from chromaseal.receipts.tilt import level_lines, rows_of, words_of

_WIDTH, _HEIGHT = 600, 900
_LABELS = ("CHOCOLATE CAKE", "PAPER PLATES", "BIRTHDAY CANDLES", "TOTAL")


def _reading(tilt_degrees: float) -> Reading:
    """A two-column receipt whose columns stand 400 pixels apart, its rows 34."""
    lines = []
    for number, label in enumerate(_LABELS):
        # No two centres stand exactly above each other: left and right would be chance.
        top, indent = 200 + 34 * number, 9 * number
        label_box = (60 + indent, top, 260 + indent, top + 26)
        amount_box = (450 + indent, top, 530 + indent, top + 26)
        lines.append(_line(2 * number + 1, label, label_box, tilt_degrees))
        lines.append(_line(2 * number + 2, f"{number}.50", amount_box, tilt_degrees))
    return Reading("test 1", _WIDTH, _HEIGHT, 0, tuple(lines))


def _line(
    line_id: int, text: str, place: tuple[float, float, float, float], tilt_degrees: float
) -> Line:
    left, top, right, bottom = place
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    quad = Quad(*(_turned(x, y, tilt_degrees) for x, y in corners))
    return Line(line_id, text, quad, 0.9, (Word(1, text, quad, 0.9),))


def _turned(x: float, y: float, degrees: float) -> Point:
    angle = math.radians(degrees)
    dx, dy = x - _WIDTH / 2, y - _HEIGHT / 2
    turned_x = _WIDTH / 2 + dx * math.cos(angle) - dy * math.sin(angle)
    turned_y = _HEIGHT / 2 + dx * math.sin(angle) + dy * math.cos(angle)
    return Point(turned_x / _WIDTH, 1 - turned_y / _HEIGHT)


@given(st.floats(-12, 12))
def test_a_tilt_changes_neither_rows_nor_neighbours(tilt_degrees: float) -> None:
    """Whatever the tilt, a label and its amount are one row and each other's neighbours."""
    level, tilted = _reading(0), _reading(tilt_degrees)
    assert [row.text for row in rows_of(tilted)] == [row.text for row in rows_of(level)]
    assert [row.text for row in rows_of(tilted)][-1] == "TOTAL 3.50"
    assert [w.embedding_input for w in words_of(tilted)] == [
        w.embedding_input for w in words_of(level)
    ]


@pytest.mark.parametrize("tilt_degrees", [-5.0, 3.0])
def test_boxes_stay_those_of_the_page(tilt_degrees: float) -> None:
    """Rows and words carry the places where the text really is, for crops."""
    reading = _reading(tilt_degrees)
    quads = {line.line_id: line.quad for line in reading.lines}
    for row in rows_of(reading):
        assert all(line.quad == quads[line.line_id] for line in row.lines)
        assert row.box == row.lines[0].quad.box().union(row.lines[-1].quad.box())
    assert [w.word for w in words_of(reading)] == [line.words[0] for line in reading.lines]


def test_a_level_page_is_left_as_it_is() -> None:
    """Where nothing is tilted the rule of the existing pipeline applies to the letter."""
    reading = _reading(0)
    assert level_lines(reading) is reading.lines
