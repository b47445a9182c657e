"""What an engine found, in pixels -> a ``Reading`` in reading order; and readings as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from chromaseal.errors import Damaged
from chromaseal.receipts.model import Line, Point, Quad, Reading, Word
from chromaseal.receipts.ocr import (
    PixelLine,
    PixelQuad,
    PixelReading,
    PixelWord,
    part_of_quad,
    reading_size,
)
from chromaseal.receipts.tilt import tilt_radians
from chromaseal.record import clean_text

_DECIMALS = 6  # a thousandth of a pixel on a page of 1,000 pixels
_SAME_ROW = 0.5


def reading_of(engine: str, found: PixelReading) -> Reading:
    """Give what an engine found its final form.

    Lines without text go; text has its white space made single spaces. Lines are numbered from
    1 in reading order: row by row from the top, each row from the left, along the page's own
    tilt. Words are numbered from 1 in each line, and spell the line's text; where an engine's
    words do not, they are cut from the text and placed along the line.

    Args:
        engine: the engine's name and version.
        found: its answer, with a page of at least 1 x 1 pixels.
    """
    lines = [cleaned for line in found.lines if (cleaned := _cleaned(line)).text]
    return Reading(
        engine=engine,
        width_px=found.width_px,
        height_px=found.height_px,
        turned_degrees=found.turned_degrees,
        lines=tuple(
            _line(number, line, found) for number, line in enumerate(_in_reading_order(lines), 1)
        ),
    )


def _cleaned(line: PixelLine) -> PixelLine:
    return PixelLine(
        text=_clean(line.text),
        quad=line.quad,
        confidence=line.confidence,
        words=tuple(
            PixelWord(text, word.quad, word.confidence)
            for word in line.words
            if (text := _clean(word.text))
        ),
    )


def _clean(text: str) -> str:
    return " ".join(clean_text(text).split())


def _in_reading_order(lines: Sequence[PixelLine]) -> list[PixelLine]:
    """Sort lines into rows along the page's tilt, so that a tilted row stays one row."""
    tilt = tilt_radians([line.quad for line in lines])
    placed = sorted(
        (_place(line, tilt) for line in lines), key=lambda p: (p[1], p[0], p[3].text, p[3].quad)
    )
    rows: list[list[tuple[float, float, float, PixelLine]]] = []
    for place in placed:
        _, y, height, _ = place
        if rows and y - rows[-1][0][1] < _SAME_ROW * min(height, rows[-1][0][2]):
            rows[-1].append(place)
        else:
            rows.append([place])
    return [
        place[3]
        for row in rows
        for place in sorted(row, key=lambda p: (p[0], p[1], p[3].text, p[3].quad))
    ]


def _place(line: PixelLine, tilt_radians: float) -> tuple[float, float, float, PixelLine]:
    """Give a line's left end, middle and height as if the page were not tilted."""
    x = (line.quad[0][0] + line.quad[3][0]) / 2
    y = (line.quad[0][1] + line.quad[3][1]) / 2
    cosine, sine = math.cos(tilt_radians), math.sin(tilt_radians)
    height = reading_size(line.quad)[1]
    return x * cosine + y * sine, y * cosine - x * sine, height, line


def _line(number: int, line: PixelLine, page: PixelReading) -> Line:
    words = line.words if _spells(line) else _words_from_text(line)
    return Line(
        line_id=number,
        text=line.text,
        quad=_quad(line.quad, page),
        confidence=_fraction(line.confidence),
        words=tuple(
            Word(number, word.text, _quad(word.quad, page), _fraction(word.confidence))
            for number, word in enumerate(words, 1)
        ),
    )


def _spells(line: PixelLine) -> bool:
    """Tell whether the words, from left to right along the line, spell the line's text."""
    spelled = "".join(word.text.replace(" ", "") for word in line.words)
    positions = [_along(word.quad, line.quad) for word in line.words]
    return spelled == line.text.replace(" ", "") and positions == sorted(positions)


def _along(quad: PixelQuad, line: PixelQuad) -> float:
    """Measure how far along a line's direction a quad's middle lies, in any unit."""
    direction_x, direction_y = line[1][0] - line[0][0], line[1][1] - line[0][1]
    return sum(x * direction_x + y * direction_y for x, y in quad)


def _words_from_text(line: PixelLine) -> tuple[PixelWord, ...]:
    """Cut the text at spaces, and the quad in proportion to the letters."""
    words = []
    start = 0
    for text in line.text.split(" "):
        end = start + len(text)
        quad = part_of_quad(line.quad, start / len(line.text), end / len(line.text))
        words.append(PixelWord(text, quad, line.confidence))
        start = end + 1
    return tuple(words)


def _quad(quad: PixelQuad, page: PixelReading) -> Quad:
    return Quad(*(_point(x / page.width_px, 1 - y / page.height_px) for x, y in quad))


def _point(x: float, y: float) -> Point:
    return Point(_fraction(x), _fraction(y))


def _fraction(value: float) -> float:
    return round(min(max(float(value), 0.0), 1.0), _DECIMALS)


def reading_to_json(reading: Reading) -> dict[str, Any]:
    """Give a reading as plain data; quads are four ``[x, y]`` clockwise from the top left."""
    return {
        "engine": reading.engine,
        "width_px": reading.width_px,
        "height_px": reading.height_px,
        "turned_degrees": reading.turned_degrees,
        "lines": [
            {
                "line_id": line.line_id,
                "text": line.text,
                "quad": _quad_to_json(line.quad),
                "confidence": line.confidence,
                "words": [
                    {
                        "word_id": word.word_id,
                        "text": word.text,
                        "quad": _quad_to_json(word.quad),
                        "confidence": word.confidence,
                    }
                    for word in line.words
                ],
            }
            for line in reading.lines
        ],
    }


def _quad_to_json(quad: Quad) -> list[list[float]]:
    return [[corner.x, corner.y] for corner in quad.corners()]


def reading_from_json(raw: Mapping[str, Any]) -> Reading:
    """Rebuild exactly the reading that ``reading_to_json`` wrote.

    Raises:
        Damaged: ``bad-reading`` when a field is missing or is no such thing.
    """
    try:
        return Reading(
            engine=str(raw["engine"]),
            width_px=int(raw["width_px"]),
            height_px=int(raw["height_px"]),
            turned_degrees=int(raw["turned_degrees"]),
            lines=tuple(_line_from_json(line) for line in raw["lines"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(
            f"A stored reading does not have the form of one: {error!r}.",
            kind="bad-reading",
            hint="Ingest the image again to read it afresh.",
        ) from error


def _line_from_json(raw: Mapping[str, Any]) -> Line:
    return Line(
        line_id=int(raw["line_id"]),
        text=str(raw["text"]),
        quad=_quad_from_json(raw["quad"]),
        confidence=float(raw["confidence"]),
        words=tuple(
            Word(
                word_id=int(word["word_id"]),
                text=str(word["text"]),
                quad=_quad_from_json(word["quad"]),
                confidence=float(word["confidence"]),
            )
            for word in raw["words"]
        ),
    )


def _quad_from_json(raw: Sequence[Sequence[float]]) -> Quad:
    top_left, top_right, bottom_right, bottom_left = (Point(float(x), float(y)) for x, y in raw)
    return Quad(top_left, top_right, bottom_right, bottom_left)
