"""A found record -> the piece of its image."""

from __future__ import annotations

import numpy as np

from chromaseal.errors import NotFound
from chromaseal.receipts.image import ImageDecoder, Pixels
from chromaseal.receipts.model import Box
from chromaseal.receipts.ocr import turn
from chromaseal.receipts.vault_objects import load_original, load_reading
from chromaseal.vault import Vault

_MARGIN = 0.006


def crop(vault: Vault, decoder: ImageDecoder, image_id: str, reader_id: str, box: Box) -> Pixels:
    """Cut a box out of an ingested page, with a little of its surroundings.

    Args:
        vault: where the original is.
        decoder: turns it into pixels.
        image_id: of the page.
        reader_id: whose reading the box belongs to.
        box: fractions of the upright page, from the bottom left.

    Returns:
        uint8, shape (height, width, 3), RGB.

    Raises:
        NotFound: ``no-image``, the page or its reading is not in the vault.
    """
    store = vault.parts.store
    stored = load_reading(store, image_id, reader_id)
    if stored is None:
        raise NotFound(f"the vault has no image {image_id}", kind="no-image")
    content = load_original(store, stored.digest)
    pixels = decoder.decode(content, stored.page_number, name=stored.source_name)
    return cut(turn(pixels, stored.reading.turned_degrees), box)


def cut(pixels: Pixels, box: Box) -> Pixels:
    """Cut a box, given in fractions from the bottom left, out of pixels."""
    height_px, width_px = pixels.shape[:2]
    left = int(max(box.x - _MARGIN, 0) * width_px)
    right = int(np.ceil(min(box.x + box.width + _MARGIN, 1) * width_px))
    top = int(max(1 - box.y - box.height - _MARGIN, 0) * height_px)
    bottom = int(np.ceil(min(1 - box.y + _MARGIN, 1) * height_px))
    return np.ascontiguousarray(pixels[top : max(bottom, top + 1), left : max(right, left + 1)])
