"""Image files: found, refused with reasons, identified without decoding, decoded upright."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import uuid
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from chromaseal.adapters.pdfium.image import PdfiumDecoder
from chromaseal.adapters.pillow.image import PillowDecoder
from chromaseal.digests import blake3_hex
from chromaseal.errors import ChromasealError, NotFound, RefusedInput
from chromaseal.receipts import files as files_module
from chromaseal.receipts.files import find_images, read_content
from chromaseal.receipts.image import (
    MAX_PIXELS,
    SniffingDecoder,
    earlier_id,
    image_id_of,
    inspect_image,
    load_page,
    sniff,
)

DECODER = SniffingDecoder(pictures=PillowDecoder(), documents=PdfiumDecoder())
SIZE = (60, 40)


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Red above, blue below, so that turns can be seen."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (0, size[1] // 2, size[0], size[1]))
    return image.convert(mode)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def heif() -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture()).save(buffer, format="HEIF")
    return buffer.getvalue()


def pdf(pages: int = 1, **options: object) -> bytes:
    others = [picture() for _ in range(pages - 1)]
    return encoded(picture(), "PDF", save_all=True, append_images=others, **options)


CONTENTS = {
    "JPEG": encoded(picture(), "JPEG", quality=95, subsampling=0),
    "PNG": encoded(picture(), "PNG"),
    "WEBP": encoded(picture(), "WEBP", lossless=True),
    "TIFF": encoded(picture(), "TIFF"),
    "GIF": encoded(picture("P"), "GIF"),
    "BMP": encoded(picture(), "BMP"),
    "HEIF": heif(),
    "PDF": pdf(),
}


@pytest.mark.parametrize("image_format", CONTENTS)
def test_every_format_is_known_by_its_content(image_format: str) -> None:
    """A format is told by its bytes, counted as one page, and decoded in the right colours."""
    content = CONTENTS[image_format]
    assert sniff(content) == image_format
    assert DECODER.count_pages(content, name="x") == 1
    pixels = DECODER.decode(content, 1, name="x")
    assert pixels.dtype == np.uint8
    height = pixels.shape[0]
    assert np.allclose(pixels[height // 4, 20], (255, 0, 0), atol=16)
    assert np.allclose(pixels[-height // 4, 20], (0, 0, 255), atol=16)


@pytest.mark.parametrize("image_format", CONTENTS)
def test_a_truncated_file_is_refused(image_format: str) -> None:
    """A file cut anywhere past its first bytes is refused as truncated, never half read."""
    content = encoded(noise(), image_format) if image_format not in ("HEIF", "PDF") else b""
    content = content or CONTENTS[image_format]
    for share in (0.1, 0.5, 0.8):
        cut = content[: max(32, int(len(content) * share))]
        with pytest.raises(RefusedInput) as caught:
            DECODER.decode(cut, DECODER.count_pages(cut, name="cut.bin"), name="cut.bin")
        assert caught.value.kind == "truncated-image"
        assert "cut.bin" in caught.value.message
        assert caught.value.hint


def noise() -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return Image.fromarray(values)


@given(st.sampled_from(sorted(CONTENTS)), st.data())
def test_damaged_files_give_pixels_or_a_refusal(image_format: str, data: st.DataObject) -> None:
    """Whatever bytes change in a file, decoding ends in pixels or in a refusal."""
    content = bytearray(CONTENTS[image_format])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RefusedInput):
        pages = DECODER.count_pages(bytes(content), name="x")
        assert DECODER.decode(bytes(content), pages, name="x").ndim == 3


@given(st.binary(max_size=300))
def test_bytes_that_are_no_image_are_refused(content: bytes) -> None:
    """Arbitrary bytes never pass for an image."""
    with pytest.raises(RefusedInput) as caught:
        DECODER.decode(content, DECODER.count_pages(content, name="x"), name="x")
    assert caught.value.kind in ("not-an-image", "truncated-image")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    """A photo taken with the camera turned comes out upright."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture()
    stored = stored.transpose(undo[orientation]) if orientation in undo else stored
    pixels = DECODER.decode(encoded(stored, "PNG", exif=exif), 1, name="x")
    assert np.array_equal(pixels, np.asarray(picture()))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    """Grey, palette, 16-bit, float, CMYK and transparent images all give (h, w, 3) bytes."""
    image_format = "PNG" if mode in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"} else "TIFF"
    if mode == "I;16":
        image = Image.fromarray(np.full((40, 60), 40_000, dtype=np.uint16))
    else:
        image = picture(mode) if mode != "F" else picture("L").convert("F")
    pixels = DECODER.decode(encoded(image, image_format), 1, name="x")
    assert pixels.shape == (40, 60, 3)
    if mode == "I;16":
        assert (pixels == round(40_000 / 257)).all()


def test_transparency_lies_on_white() -> None:
    """What is transparent becomes white paper, not black."""
    image = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    assert (DECODER.decode(encoded(image, "PNG"), 1, name="x") == 255).all()


def test_each_page_of_a_document_is_an_image(tmp_path: Path) -> None:
    """Pages of TIFF and PDF files have ids of their own and decode one by one."""
    pages = [Image.new("RGB", SIZE, colour) for colour in ("red", "lime", "blue")]
    options = {"save_all": True, "append_images": pages[1:]}
    for name in ("many.tiff", "many.pdf"):
        path = tmp_path / name
        path.write_bytes(encoded(pages[0], path.suffix[1:].upper(), **options))
        image = inspect_image(path, DECODER)
        assert image.pages == len(set(image.image_ids())) == 3
        for number, channel in enumerate((0, 1, 2), 1):
            page = load_page(image, number, DECODER)
            assert page.image_id == image.image_ids()[number - 1]
            assert (page.page_number, page.pages) == (number, 3)
            assert page.pixels[20, 20].argmax() == channel


def test_ids_come_from_content_alone(tmp_path: Path) -> None:
    """Copies under other names have the same ids, as UUIDs; another page has another."""
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(CONTENTS["JPEG"])
    one, two = (inspect_image(tmp_path / name, DECODER) for name in ("a.jpg", "b.jpg"))
    assert one.image_ids() == two.image_ids() == (image_id_of(blake3_hex(CONTENTS["JPEG"]), 1),)
    assert str(uuid.UUID(one.image_ids()[0])) == one.image_ids()[0]
    assert image_id_of(one.digest, 2) != image_id_of(one.digest, 1)
    assert image_id_of("0" * 64, 1) == "9c4c420a-0e75-463f-8956-d780999feee1"
    assert uuid.UUID(one.image_ids()[0]).version == 4
    # What release 0.1 called it.
    assert earlier_id(image_id_of("0" * 64, 1)) == "9c4c420a-0e75-563f-8956-d780999feee1"


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    """Content is digested again before it is decoded."""
    path = tmp_path / "a.png"
    path.write_bytes(CONTENTS["PNG"])
    image = inspect_image(path, DECODER)
    path.write_bytes(CONTENTS["JPEG"])
    with pytest.raises(RefusedInput) as caught:
        load_page(image, 1, DECODER)
    assert caught.value.kind == "changed-file"


def test_a_decompression_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    """More than 64 megapixels are refused before a pixel is decoded, however small the file."""
    for side in (8001, 14_000, 60_000):
        assert side * side > MAX_PIXELS
        content = encoded(Image.new("1", (8, 8)), "PNG")
        header = side.to_bytes(4, "big") * 2
        bomb = tmp_path / "bomb.png"
        bomb.write_bytes(with_checksum(content[:16] + header + content[24:]))
        with pytest.raises(RefusedInput) as caught:
            inspect_image(bomb, DECODER)
        assert caught.value.kind == "image-too-large"


def with_checksum(png: bytes) -> bytes:
    return png[:29] + zlib.crc32(png[12:29]).to_bytes(4, "big") + png[33:]


def test_a_huge_pdf_page_is_rendered_smaller() -> None:
    """Resolution gives way to the pixel limit."""
    content = bare_pdf(page=b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 14400 9000]>>")
    height, width, _ = PdfiumDecoder().decode(content, 1, name="x").shape
    assert MAX_PIXELS / 2 < width * height <= MAX_PIXELS


def test_locked_pdfs_are_named_so() -> None:
    """A PDF that asks for a password nobody knows is refused with a kind of its own."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>"
    with pytest.raises(RefusedInput) as caught:
        DECODER.count_pages(bare_pdf(page=page, trailer=b"/Encrypt 4 0 R"), name="locked.pdf")
    assert caught.value.kind == "encrypted-pdf"


def bare_pdf(*, page: bytes, trailer: bytes = b"") -> bytes:
    """A PDF of one empty page, written by hand."""
    keys = b"<</Filter/Standard/V 1/R 2/P -4/O<%s>/U<%s>>>" % (b"ab" * 32, b"cd" * 32)
    pages = b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
    body, offsets = b"%PDF-1.4\n", []
    for number, part in enumerate((b"<</Type/Catalog/Pages 2 0 R>>", pages, page, keys), 1):
        offsets.append(b"%010d 00000 n \n" % len(body))
        body += b"%d 0 obj%sendobj\n" % (number, part)
    table = b"xref\n0 5\n0000000000 65535 f \n" + b"".join(offsets)
    end = b"trailer<</Size 5/Root 1 0 R/ID[<00><00>]%s>>\nstartxref\n%d\n%%%%EOF"
    return body + table + end % (trailer, len(body))


def kind_of(error: ChromasealError) -> tuple[type[ChromasealError], str]:
    return type(error), error.kind


def test_every_bad_name_is_refused_and_stops_nothing(tmp_path: Path) -> None:
    """One search finds the good files and says of each bad name what is wrong with it."""
    good = tmp_path / "good.weird"
    good.write_bytes(CONTENTS["PNG"])
    (tmp_path / "empty").mkdir()
    names: list[str | Path] = [
        tmp_path / "gone.jpg",
        tmp_path / "empty",
        f"{tmp_path}/nul\x00.jpg",
        "x" * 5000,
        good,
    ]
    found = find_images(names)
    assert found.files == (good,)
    assert [kind_of(refusal.error) for refusal in found.refusals] == [
        (NotFound, "no-such-file"),
        (RefusedInput, "empty-directory"),
        (RefusedInput, "bad-file-name"),
        (RefusedInput, "unreadable-file"),
    ]
    assert [refusal.source for refusal in found.refusals] == [str(name) for name in names[:4]]


def test_directories_are_walked_in_order(tmp_path: Path) -> None:
    """Images of all levels come sorted and once; hidden and unrelated files stay out."""
    wanted = ["a.JPG", "b/a.png", "b/c/z.pdf", "b.tif"]
    for name in [*wanted, ".hidden.jpg", ".git/x.png", "notes.txt", "b/data.csv"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_images([tmp_path, tmp_path / "b.tif", tmp_path / "b"])
    assert found.files == tuple(sorted(tmp_path / name for name in wanted))
    assert found.ignored == 3
    assert found.refusals == ()


def test_a_directory_of_other_things_says_how_many(tmp_path: Path) -> None:
    """A directory without images is refused, and what was left out is counted."""
    (tmp_path / "notes.txt").touch()
    (refusal,) = find_images([tmp_path]).refusals
    assert refusal.error.kind == "empty-directory"
    assert "1 other" in refusal.error.message


@pytest.mark.parametrize("kind", ["empty-file", "not-an-image", "unreadable-file", "no-such-file"])
def test_what_cannot_be_read_says_why(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty, special, forbidden and vanished files each have their own kind and a hint."""
    path = tmp_path / "x.jpg"
    if kind == "empty-file":
        path.touch()
    elif kind == "not-an-image":
        os.mkfifo(path)
    elif kind == "unreadable-file":
        path.write_bytes(b"x")
        monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(ChromasealError) as caught:
        read_content(path)
    assert caught.value.kind == kind
    assert str(path) in caught.value.message
    assert caught.value.hint


def forbidden(path: Path) -> bytes:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_forbidden_directory_is_refused_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that cannot be listed is refused; its neighbours are still found."""
    (tmp_path / "closed").mkdir()
    (tmp_path / "open.jpg").touch()
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_images([tmp_path])
    assert found.files == (tmp_path / "open.jpg",)
    assert [refusal.error.kind for refusal in found.refusals] == ["unreadable-file"]


def test_a_file_over_the_size_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of more bytes than allowed is refused by its size alone."""
    monkeypatch.setattr(files_module, "MAX_FILE_SIZE_BYTES", 10)
    monkeypatch.setattr(Path, "read_bytes", forbidden)
    path = tmp_path / "x.jpg"
    path.write_bytes(bytes(11))
    assert stat.S_ISREG(path.stat().st_mode)
    with pytest.raises(RefusedInput) as caught:
        read_content(path)
    assert caught.value.kind == "image-too-large"
