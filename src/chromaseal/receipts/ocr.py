"""The port through which text is read off pixels, and the plain data that engines answer with.

Positions here are pixels from the **top left** corner; ``reading.py`` turns them into fractions
from the bottom left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from chromaseal.receipts.image import Pixels

PixelPoint: TypeAlias = tuple[float, float]
PixelQuad: TypeAlias = tuple[PixelPoint, PixelPoint, PixelPoint, PixelPoint]

_ELONGATED = 1.5


@dataclass(frozen=True, slots=True)
class PixelWord:
    """One word; its quad runs clockwise from the top left as the text reads."""

    text: str
    quad: PixelQuad
    confidence: float


@dataclass(frozen=True, slots=True)
class PixelLine:
    """One text segment; its quad runs clockwise from the top left as the text reads.

    ``words`` may be empty: an engine that knows no words leaves finding them to ``reading.py``.
    """

    text: str
    quad: PixelQuad
    confidence: float
    words: tuple[PixelWord, ...] = ()


@dataclass(frozen=True, slots=True)
class PixelReading:
    """What an engine found on one page.

    Attributes:
        turned_degrees: 0, 90, 180 or 270, counter-clockwise, that made the page upright.
        width_px: width of the upright page, to which all quads refer.
        height_px: its height.
        lines: in any order.
    """

    turned_degrees: int
    width_px: int
    height_px: int
    lines: tuple[PixelLine, ...]


class OcrEngine(Protocol):
    """What reads text off a page; one instance serves one thread."""

    @property
    def name(self) -> str:
        """Name and version, for example ``rapidocr 3.10.0``."""
        ...

    def read(self, pixels: Pixels) -> PixelReading:
        """Turn a page upright and read it; the same pixels always give the same answer.

        Args:
            pixels: uint8, shape (height, width, 3), RGB.

        Raises:
            Unsupported: the engine is not installed; its kind says which.
            Unavailable: the engine did not answer in time.
        """
        ...


def turn(pixels: Pixels, degrees: int) -> Pixels:
    """Turn pixels counter-clockwise by 0, 90, 180 or 270 degrees."""
    return np.ascontiguousarray(np.rot90(pixels, degrees // 90))


def part_of_quad(quad: PixelQuad, start: float, end: float) -> PixelQuad:
    """Cut a piece out of a line's quad, along its reading direction.

    Args:
        quad: the line's quad.
        start: where the piece begins, as a fraction of the line's length.
        end: where it ends.
    """
    top_left, top_right, bottom_right, bottom_left = quad
    return (
        _between(top_left, top_right, start),
        _between(top_left, top_right, end),
        _between(bottom_left, bottom_right, end),
        _between(bottom_left, bottom_right, start),
    )


def _between(one: PixelPoint, other: PixelPoint, fraction: float) -> PixelPoint:
    return (
        one[0] + (other[0] - one[0]) * fraction,
        one[1] + (other[1] - one[1]) * fraction,
    )


def tall_share(quads: Sequence[PixelQuad]) -> float:
    """Say how much of the text runs up or down the page rather than across it.

    Args:
        quads: where text was detected.

    Returns:
        0 (all across) to 1 (all up or down), by length; boxes near square do not count.
    """
    across = upright = 0.0
    for quad in quads:
        xs, ys = zip(*quad, strict=True)
        width, height = max(xs) - min(xs), max(ys) - min(ys)
        across += width if width > _ELONGATED * height else 0.0
        upright += height if height > _ELONGATED * width else 0.0
    return upright / (across + upright) if across + upright else 0.0


def reading_size(quad: PixelQuad) -> tuple[float, float]:
    """Measure a quad along and across its reading direction, in pixels."""
    top_left, top_right, bottom_right, bottom_left = quad
    length = max(math.dist(top_left, top_right), math.dist(bottom_left, bottom_right))
    height = max(math.dist(top_left, bottom_left), math.dist(top_right, bottom_right))
    return length, height
