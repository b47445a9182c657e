"""Draws sample receipts: the same data always gives the same pixels."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from chromaseal.receipts.image import Pixels
from chromaseal.receipts.samples import SampleReceipt, SampleRow, printed_rows

_WIDTH_PX = 500
_MARGIN_PX = 36
_ROW_PX = 34
_SIZES_PX = {"body": 22, "name": 32}
_INK = (38, 36, 40)
_PAPER = (250, 248, 242)
_TABLE = (176, 164, 150)
_GRAIN = 2.0
_JPEG_QUALITY = 90


def draw_sample(sample: SampleReceipt) -> Pixels:
    """Draw a receipt.

    Args:
        sample: what to draw.

    Returns:
        uint8, shape (height, about 500, 3), RGB.
    """
    rows = printed_rows(sample)
    size = (_WIDTH_PX, 2 * _MARGIN_PX + _ROW_PX * len(rows))
    image = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(image)
    for number, row in enumerate(rows):
        _draw_row(pen, row, _MARGIN_PX + number * _ROW_PX, sample)
    if sample.tilt_degrees:
        image = image.rotate(
            sample.tilt_degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=_TABLE
        )
    if sample.blur_px:
        image = image.filter(ImageFilter.GaussianBlur(sample.blur_px))
    return _grained(image, sample.slug)


def write_sample(sample: SampleReceipt, path: Path) -> None:
    """Draw a receipt into a file; ``.jpg`` and ``.png`` are what is meant for.

    Args:
        sample: what to draw.
        path: where; its suffix chooses the format.
    """
    Image.fromarray(draw_sample(sample)).save(path, quality=_JPEG_QUALITY)


def _draw_row(pen: ImageDraw.ImageDraw, row: SampleRow, top_px: int, sample: SampleReceipt) -> None:
    font = ImageFont.load_default(_SIZES_PX[row.size])
    top_px -= _SIZES_PX[row.size] - _SIZES_PX["body"]
    if row.place == "centre":
        pen.text((_WIDTH_PX / 2, top_px), row.text, _INK, font, anchor="ma")
    elif sample.layout == "one-column":
        pen.text((_MARGIN_PX, top_px), f"{row.text} {row.amount}".strip(), _INK, font)
    else:
        pen.text((_MARGIN_PX, top_px), row.text, _INK, font)
        pen.text((_WIDTH_PX - _MARGIN_PX, top_px), row.amount, _INK, font, anchor="ra")


def _grained(image: Image.Image, seed: str) -> Pixels:
    """Add the grain of paper and camera, the same for the same seed."""
    chance = np.random.default_rng(zlib.crc32(seed.encode()))
    pixels = np.asarray(image, dtype=np.float32)
    grain = chance.normal(0.0, _GRAIN, pixels.shape[:2]).astype(np.float32)
    return np.asarray(np.clip(pixels + grain[:, :, None], 0, 255).round(), dtype=np.uint8)
