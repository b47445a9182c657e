"""What is read off a receipt: quads, words, lines, as plain data.

Coordinates are fractions of the upright image, origin **bottom left**, y growing upward, as in
the existing pipeline. ``line_id`` and ``word_id`` count from 1; ``word_id`` restarts in each line.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A position: x and y in 0..1, from the bottom left corner."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Quad:
    """Four corners as the text reads, so a tilted line has a tilted quad."""

    top_left: Point
    top_right: Point
    bottom_right: Point
    bottom_left: Point

    def corners(self) -> tuple[Point, Point, Point, Point]:
        """Give the corners clockwise from the top left, as the text reads."""
        return (self.top_left, self.top_right, self.bottom_right, self.bottom_left)

    def centroid(self) -> Point:
        """Give the mean of the four corners."""
        corners = self.corners()
        return Point(sum(c.x for c in corners) / 4, sum(c.y for c in corners) / 4)

    def box(self) -> Box:
        """Give the smallest upright box around the corners."""
        xs = [c.x for c in self.corners()]
        ys = [c.y for c in self.corners()]
        return Box(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


@dataclass(frozen=True, slots=True)
class Box:
    """An upright box: its lower left corner, width and height, all in 0..1."""

    x: float
    y: float
    width: float
    height: float

    def union(self, other: Box) -> Box:
        """Give the smallest box around both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        right = max(self.x + self.width, other.x + other.width)
        top = max(self.y + self.height, other.y + other.height)
        return Box(x, y, right - x, top - y)


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line; confidence in 0..1."""

    word_id: int
    text: str
    quad: Quad
    confidence: float


@dataclass(frozen=True, slots=True)
class Line:
    """One text segment as the detector found it, with its words in reading order."""

    line_id: int
    text: str
    quad: Quad
    confidence: float
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that OCR found on one receipt.

    ``turned_degrees`` (0, 90, 180 or 270) is how far the image was turned counter-clockwise to
    be upright; quads refer to the upright image of ``width_px`` by ``height_px``.
    """

    engine: str
    width_px: int
    height_px: int
    turned_degrees: int
    lines: tuple[Line, ...]
