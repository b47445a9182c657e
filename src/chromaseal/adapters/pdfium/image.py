"""PDFium as an ``ImageDecoder``: the pages of PDF files, rendered for reading."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pypdfium2

from chromaseal.errors import RefusedInput
from chromaseal.receipts.image import (
    MAX_PIXELS,
    Pixels,
    check_page_count,
    not_an_image,
    sniff,
    truncated_image,
)

RESOLUTION_DPI = 200
_POINTS_PER_INCH = 72
_PIXEL_BUDGET = MAX_PIXELS * 0.9  # sides are rounded up
_LOCKED = (4, 5)  # FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY
_LOOK: dict[str, Any] = {"rev_byteorder": True, "prefer_bgrx": False, "may_draw_forms": False}


class PdfiumDecoder:
    """Renders PDF pages at 200 dots per inch, or fewer where a page is very large."""

    def count_pages(self, content: bytes, *, name: str) -> int:
        """Count the pages without rendering any.

        Args:
            content: the whole file.
            name: what error messages call it.

        Raises:
            RefusedInput: ``not-an-image``, ``truncated-image``, ``encrypted-pdf`` or
                ``too-many-pages``.
        """
        with _opened(content, name) as document:
            return check_page_count(len(document), name=name)

    def decode(self, content: bytes, page_number: int, *, name: str) -> Pixels:
        """Render one page on white.

        Args:
            content: the whole file.
            page_number: from 1.
            name: what error messages call it.

        Returns:
            uint8, shape (height, width, 3), RGB, at most ``MAX_PIXELS``.

        Raises:
            RefusedInput: as for ``count_pages``.
        """
        with (
            _opened(content, name) as document,
            contextlib.closing(document[page_number - 1]) as page,
            contextlib.closing(page.render(scale=_scale(*page.get_size()), **_LOOK)) as bitmap,
        ):
            return np.ascontiguousarray(bitmap.to_numpy())


@contextlib.contextmanager
def _opened(content: bytes, name: str) -> Iterator[Any]:
    """Open a document, and explain what goes wrong while it is read."""
    if sniff(content) != "PDF":
        raise not_an_image(name)
    try:
        with contextlib.closing(pypdfium2.PdfDocument(content)) as document:
            yield document
    except pypdfium2.PdfiumError as error:
        if error.err_code in _LOCKED:
            raise _encrypted(name) from error
        raise truncated_image(name, str(error).rstrip(".")) from error
    except IndexError as error:
        raise truncated_image(name, "a page is missing") from error


def _encrypted(name: str) -> RefusedInput:
    return RefusedInput(
        f"{name} is protected by a password.",
        kind="encrypted-pdf",
        hint="Save a copy without a password and give that.",
    )


def _scale(width_points: float, height_points: float) -> float:
    """Choose pixels per point: ``RESOLUTION_DPI``, or what keeps the page within the limit."""
    area = max(width_points, 1.0) * max(height_points, 1.0)
    return min(RESOLUTION_DPI / _POINTS_PER_INCH, math.sqrt(_PIXEL_BUDGET / area))
