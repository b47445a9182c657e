"""Draws the README's pictures: a sample receipt with the boxes that were read on it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from chromaseal.adapters.pillow.sample import draw_sample
from chromaseal.composition.receipts import ocr_engine
from chromaseal.receipts.model import Quad, Reading
from chromaseal.receipts.reading import reading_of
from chromaseal.receipts.samples import SAMPLES
from chromaseal.receipts.tilt import rows_of

TARGET = Path(__file__).parent / "pictures" / "receipt.png"
_ROW, _LINE, _WORD = (46, 125, 50, 48), (21, 101, 192), (230, 81, 0)


def main() -> None:
    """Draw the first tilted sample with its rows, lines and words."""
    sample = next(s for s in SAMPLES if s.tilt_degrees and s.layout == "two-columns")
    pixels = draw_sample(sample)
    engine = ocr_engine("rapidocr")
    reading = reading_of(engine.name, engine.read(pixels))
    image = Image.fromarray(pixels).convert("RGBA")
    overlay = Image.new("RGBA", image.size)
    _draw(ImageDraw.Draw(overlay), reading)
    Image.alpha_composite(image, overlay).convert("RGB").save(TARGET, optimize=True)


def _draw(pen: ImageDraw.ImageDraw, reading: Reading) -> None:
    width, height = reading.width_px, reading.height_px
    for row in rows_of(reading):
        first, last = row.lines[0].quad, row.lines[-1].quad
        whole = Quad(first.top_left, last.top_right, last.bottom_right, first.bottom_left)
        pen.polygon(_corners(whole, width, height), fill=_ROW)
    for line in reading.lines:
        for word in line.words:
            pen.polygon(_corners(word.quad, width, height), outline=_WORD)
        pen.polygon(_corners(line.quad, width, height), outline=_LINE, width=2)


def _corners(quad: Quad, width: int, height: int) -> list[tuple[float, float]]:
    return [(corner.x * width, (1 - corner.y) * height) for corner in quad.corners()]


if __name__ == "__main__":
    main()
