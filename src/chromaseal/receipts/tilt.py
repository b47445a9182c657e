"""A page's tilt, and its lines as they would stand if the page were level.

Rows and neighbours are told by heights. On a page photographed at a slant an amount at the right
edge stands higher or lower than its label, so they are looked for on the level page; ids, texts
and boxes stay those of the page as it is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from chromaseal.receipts.context import WordInContext, words_in_context
from chromaseal.receipts.model import Box, Line, Point, Quad, Reading
from chromaseal.receipts.ocr import PixelQuad, reading_size
from chromaseal.receipts.rows import Row, visual_rows

_LONG_ENOUGH = 3.0
_LEVEL_RADIANS = math.radians(0.1)


def tilt_radians(quads: Sequence[PixelQuad]) -> float:
    """Measure a page's tilt as the median over quads long enough to show one.

    Args:
        quads: lines of text, in pixels from the top left.

    Returns:
        The angle clockwise as seen, 0 where nothing shows one.
    """
    angles = []
    for quad in quads:
        length, height = reading_size(quad)
        if length > _LONG_ENOUGH * height:
            (left_x, left_y), (right_x, right_y) = quad[0], quad[1]
            angles.append(math.atan2(right_y - left_y, right_x - left_x))
    return statistics.median(angles) if angles else 0.0


def rows_of(reading: Reading) -> tuple[Row, ...]:
    """Group a reading's lines into visual rows, told on the level page."""
    original = {line.line_id: line for line in reading.lines}
    return tuple(_restored(row, original) for row in visual_rows(level_lines(reading)))


def words_of(reading: Reading) -> tuple[WordInContext, ...]:
    """Find each word's neighbours, told on the level page."""
    words = [word for line in reading.lines for word in line.words]
    found = words_in_context(level_lines(reading))
    return tuple(replace(entry, word=word) for entry, word in zip(found, words, strict=True))


def level_lines(reading: Reading) -> tuple[Line, ...]:
    """Give a reading's lines turned about the page's middle until their text runs level."""
    tilt = tilt_radians([_in_pixels(line.quad, reading) for line in reading.lines])
    if abs(tilt) < _LEVEL_RADIANS:
        return reading.lines
    return tuple(
        replace(
            line,
            quad=_level(line.quad, reading, tilt),
            words=tuple(
                replace(word, quad=_level(word.quad, reading, tilt)) for word in line.words
            ),
        )
        for line in reading.lines
    )


def _restored(row: Row, original: dict[int, Line]) -> Row:
    lines = tuple(original[line.line_id] for line in row.lines)
    return replace(row, lines=lines, box=reduce(Box.union, (line.quad.box() for line in lines)))


def _in_pixels(quad: Quad, reading: Reading) -> PixelQuad:
    a, b, c, d = (
        (corner.x * reading.width_px, (1 - corner.y) * reading.height_px)
        for corner in quad.corners()
    )
    return a, b, c, d


def _level(quad: Quad, reading: Reading, tilt: float) -> Quad:
    width, height = reading.width_px, reading.height_px
    cosine, sine = math.cos(tilt), math.sin(tilt)

    def turned(corner: Point) -> Point:
        x, y = (corner.x - 0.5) * width, (0.5 - corner.y) * height
        return Point(0.5 + (x * cosine + y * sine) / width, 0.5 - (y * cosine - x * sine) / height)

    return Quad(*(turned(corner) for corner in quad.corners()))
