"""Pillow as an ``ImageDecoder``: JPEG, PNG, WebP, TIFF, HEIC, AVIF, GIF and BMP."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from chromaseal.errors import RefusedInput
from chromaseal.receipts.image import (
    Pixels,
    check_page_count,
    check_size,
    image_too_large,
    not_an_image,
    sniff,
    truncated_image,
)

# What Pillow's parsers raise on damaged files; UnidentifiedImageError is an OSError.
_BROKEN = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, AttributeError, RuntimeError),
    *(LookupError, ArithmeticError, MemoryError, struct.error, zlib.error),
)
_FORMATS = frozenset(("JPEG", "PNG", "GIF", "TIFF", "WEBP", "HEIF", "AVIF", "BMP"))
_PAGED = "TIFF"  # an animation's first frame is its picture; only TIFF has pages
_WHITE = 255.0
_MAX_16_BIT = 65535.0
_WIDE_MODES = frozenset(("I", "I;16", "I;16B", "I;16L", "I;16N", "F"))


class PillowDecoder:
    """Decodes raster images; keeps no state, so it can be sent to another process."""

    def count_pages(self, content: bytes, *, name: str) -> int:
        """Count the pages and check their size, from headers alone.

        Args:
            content: the whole file.
            name: what error messages call it.

        Raises:
            RefusedInput: ``not-an-image``, ``truncated-image``, ``image-too-large`` or
                ``too-many-pages``.
        """
        with _opened(content, name) as image:
            if image.format != _PAGED:
                return 1
            pages = check_page_count(int(getattr(image, "n_frames", 1)), name=name)
            for page in range(1, pages):
                image.seek(page)
                check_size(*image.size, name=name)
            return pages

    def decode(self, content: bytes, page_number: int, *, name: str) -> Pixels:
        """Decode one page.

        Args:
            content: the whole file.
            page_number: from 1.
            name: what error messages call it.

        Returns:
            uint8, shape (height, width, 3), RGB on white, turned as EXIF says.

        Raises:
            RefusedInput: as for ``count_pages``, and ``unsupported-image``.
        """
        with _opened(content, name) as image:
            if page_number > 1:
                image.seek(page_number - 1)
                check_size(*image.size, name=name)
            image.load()
            return np.array(_as_rgb(_upright(image), name))


@contextlib.contextmanager
def _opened(content: bytes, name: str) -> Iterator[Image.Image]:
    """Open an image as what its first bytes say, and explain what goes wrong meanwhile."""
    image_format = sniff(content)
    if image_format not in _FORMATS:
        raise not_an_image(name)
    if image_format == "HEIF":
        _register_heif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd tags; only size matters here
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=[image_format]) as image:
                check_size(*image.size, name=name)
                yield image
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise image_too_large(name, "says of itself that it is far larger") from error
        except UnidentifiedImageError as error:
            why = f"it starts like {image_format}, but its header cannot be read"
            raise truncated_image(name, why) from error
        except _BROKEN as error:
            raise truncated_image(name, str(error) or type(error).__name__) from error


def _register_heif() -> None:
    import pillow_heif  # noqa: PLC0415 - a large library for one format

    pillow_heif.register_heif_opener()


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN:  # damaged EXIF says nothing about orientation; the picture is whole
        return image


def _as_rgb(image: Image.Image, name: str) -> Image.Image:
    """Give any mode as RGB, transparency on white."""
    if image.mode in _WIDE_MODES:
        return _narrowed(image).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        page = Image.new("RGBA", layer.size, "white")
        page.alpha_composite(layer)
        return page.convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise RefusedInput(
            f"{name} has colours of a kind ({image.mode}) that cannot be converted to RGB.",
            kind="unsupported-image",
            hint="Save it as an ordinary RGB or grey image.",
        ) from error


def _narrowed(image: Image.Image) -> Image.Image:
    """Give 16-bit, 32-bit or floating point grey as 8-bit grey.

    Sixteen bits keep their high byte; other values are spread from the least to the greatest.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    sixteen = image.mode.startswith("I;16")
    low, high = (0.0, _MAX_16_BIT) if sixteen else (float(values.min()), float(values.max()))
    scaled = (
        (values - low) * (_WHITE / (high - low)) if high > low else np.full_like(values, _WHITE)
    )
    return Image.fromarray(scaled.round().astype(np.uint8))
