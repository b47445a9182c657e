"""Image files -> upright pages with stable ids; the port through which pixels are decoded."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chromaseal.digests import blake3_hex
from chromaseal.errors import RefusedInput
from chromaseal.receipts.files import read_content
from chromaseal.record import clean_text

Pixels: TypeAlias = NDArray[np.uint8]

MAX_PIXELS = 64_000_000
MAX_PAGES = 1000

_NAMESPACE = uuid.UUID("6f1c2c52-4a0d-5d5b-9a3e-0c9f5f6c7b11")
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_BMP_HEADER_SIZES_BYTES = frozenset((12, 40, 52, 56, 64, 108, 124))
_PDF_SEARCH_BYTES = 1024
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """What is known of an image file before a single pixel is decoded.

    Attributes:
        path: where the file is.
        source_name: its name, safe to store.
        digest: BLAKE3 of its content, 64 hexadecimal digits.
        pages: how many pages it has, from 1.
    """

    path: Path
    source_name: str
    digest: str
    pages: int

    def image_ids(self) -> tuple[str, ...]:
        """Give the id of each page, in order."""
        return tuple(image_id_of(self.digest, page) for page in range(1, self.pages + 1))


@dataclass(frozen=True, slots=True, eq=False)
class PageImage:
    """One page of an image file, decoded.

    Attributes:
        image_id: UUID that only content and page number decide.
        source_name: the file's name, safe to store.
        page_number: from 1.
        pages: how many pages the file has.
        content: the original file, all of it.
        digest: BLAKE3 of ``content``, 64 hexadecimal digits.
        pixels: uint8, shape (height, width, 3), RGB, upright as far as EXIF says.
    """

    image_id: str
    source_name: str
    page_number: int
    pages: int
    content: bytes
    digest: str
    pixels: Pixels


class ImageDecoder(Protocol):
    """What turns a file's content into pages of pixels.

    Both methods raise ``RefusedInput`` with kind ``not-an-image``, ``truncated-image``,
    ``image-too-large``, ``too-many-pages``, ``unsupported-image`` or ``encrypted-pdf``.
    """

    def count_pages(self, content: bytes, *, name: str) -> int:
        """Count the pages, from headers alone; the size limits are checked here.

        Args:
            content: the whole file.
            name: what error messages call it.
        """
        ...

    def decode(self, content: bytes, page_number: int, *, name: str) -> Pixels:
        """Decode one page.

        Args:
            content: the whole file.
            page_number: from 1.
            name: what error messages call it.

        Returns:
            uint8, shape (height, width, 3), RGB on white, turned as EXIF says.
        """
        ...


class SniffingDecoder:
    """Sends documents to one decoder and pictures to another, by content, never by suffix.

    Args:
        pictures: decodes every format that ``sniff`` knows but PDF.
        documents: decodes PDF.
    """

    def __init__(self, *, pictures: ImageDecoder, documents: ImageDecoder) -> None:
        self._pictures = pictures
        self._documents = documents

    def count_pages(self, content: bytes, *, name: str) -> int:
        """Count the pages, from headers alone."""
        return self._choose(content, name).count_pages(content, name=name)

    def decode(self, content: bytes, page_number: int, *, name: str) -> Pixels:
        """Decode one page, numbered from 1."""
        return self._choose(content, name).decode(content, page_number, name=name)

    def _choose(self, content: bytes, name: str) -> ImageDecoder:
        image_format = sniff(content)
        if image_format is None:
            raise not_an_image(name)
        return self._documents if image_format == "PDF" else self._pictures


def image_id_of(content_digest: str, page_number: int) -> str:
    """Give a page's image id: the same content and page always have the same UUID.

    Args:
        content_digest: BLAKE3 of the file's content, 64 hexadecimal digits.
        page_number: from 1.
    """
    return stable_id(_NAMESPACE, f"{content_digest}/{page_number}")


def stable_id(namespace: uuid.UUID, name: str) -> str:
    """Give the UUID that a name always has.

    It says that it is of version 4, as the existing pipeline's programs read no other one.
    """
    return str(uuid.UUID(bytes=uuid.uuid5(namespace, name).bytes, version=4))


def earlier_id(image_id: str) -> str:
    """Give the id that release 0.1 gave the page: the same, but for the version."""
    return str(uuid.UUID(bytes=uuid.UUID(image_id).bytes, version=5))


def sniff(content: bytes) -> str | None:
    """Tell an image format by its first bytes: ``JPEG``, ``PDF`` and so on, or None."""
    for magic, image_format in _MAGIC:
        if content.startswith(magic):
            return image_format
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        return _sniff_brands(content)
    if content[:2] == b"BM" and int.from_bytes(content[14:18], "little") in _BMP_HEADER_SIZES_BYTES:
        return "BMP"
    return "PDF" if b"%PDF-" in content[:_PDF_SEARCH_BYTES] else None


def _sniff_brands(content: bytes) -> str | None:
    """Tell HEIF from AVIF by the brands that an ISO media file lists at its start."""
    end = min(int.from_bytes(content[:4], "big"), 256)
    brands = {content[at : at + 4] for at in (8, *range(16, end, 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None


def inspect_image(path: Path, decoder: ImageDecoder) -> ImageFile:
    """Read a file's digest and page count, and so its image ids, without decoding pixels.

    Args:
        path: the file.
        decoder: what counts its pages.

    Raises:
        NotFound: ``no-such-file``.
        RefusedInput: ``unreadable-file``, ``bad-file-name``, ``empty-file``, ``not-an-image``,
            ``image-too-large`` and what else the decoder refuses.
    """
    content = read_content(path)
    pages = decoder.count_pages(content, name=str(path))
    return ImageFile(path, clean_text(path.name), blake3_hex(content), pages)


def load_page(image: ImageFile, page_number: int, decoder: ImageDecoder) -> PageImage:
    """Decode one page of a file that was inspected before, perhaps by another process.

    Args:
        image: what ``inspect_image`` found.
        page_number: from 1.
        decoder: what decodes it.

    Raises:
        RefusedInput: ``changed-file`` when the content is another by now, ``truncated-image``
            and what else the decoder refuses.
        NotFound: ``no-such-file`` when it is gone by now.
    """
    content = read_content(image.path)
    if blake3_hex(content) != image.digest:
        raise RefusedInput(
            f"{image.path} changed while it was being ingested.",
            kind="changed-file",
            hint="Ingest it again once nothing writes to it.",
        )
    return PageImage(
        image_id=image_id_of(image.digest, page_number),
        source_name=image.source_name,
        page_number=page_number,
        pages=image.pages,
        content=content,
        digest=image.digest,
        pixels=decoder.decode(content, page_number, name=str(image.path)),
    )


def check_size(width_px: int, height_px: int, *, name: str) -> None:
    """Refuse a page of more than ``MAX_PIXELS``, known from its header alone.

    Raises:
        RefusedInput: ``image-too-large``.
    """
    if width_px * height_px > MAX_PIXELS:
        raise image_too_large(name, f"is {width_px} x {height_px} pixels")


def check_page_count(pages: int, *, name: str) -> int:
    """Refuse a file of no pages or more than ``MAX_PAGES``.

    Raises:
        RefusedInput: ``truncated-image`` or ``too-many-pages``.
    """
    if pages < 1:
        raise truncated_image(name, "it has no pages")
    if pages > MAX_PAGES:
        raise RefusedInput(
            f"{name} has {pages} pages; the limit is {MAX_PAGES}.",
            kind="too-many-pages",
            hint="Split it into several files.",
        )
    return pages


def not_an_image(name: str) -> RefusedInput:
    """Make the error for content that no decoder knows."""
    return RefusedInput(
        f"{name} is not an image that can be read.",
        kind="not-an-image",
        hint="Give JPEG, PNG, WebP, TIFF, HEIC, GIF, BMP or PDF files.",
    )


def truncated_image(name: str, why: str) -> RefusedInput:
    """Make the error for content that starts like an image and does not hold one."""
    return RefusedInput(
        f"{name} is damaged or cut short: {why}.",
        kind="truncated-image",
        hint="Copy or export it again from where it came from.",
    )


def image_too_large(name: str, size: str) -> RefusedInput:
    """Make the error for a page over the pixel limit; ``size`` is a phrase with its verb."""
    return RefusedInput(
        f"{name} {size}; the limit is {MAX_PIXELS // 1_000_000} megapixels.",
        kind="image-too-large",
        hint="Save it at a lower resolution: a receipt needs about 3 megapixels.",
    )
