"""Pixels -> a PNG file."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from chromaseal.receipts.image import Pixels


def write_png(pixels: Pixels, path: Path) -> None:
    """Write pixels (uint8, shape (height, width, 3), RGB) as a PNG file."""
    Image.fromarray(pixels).save(path, format="PNG")
