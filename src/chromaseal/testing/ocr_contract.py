"""What every OCR engine promises; inherit it and give an ``engine`` fixture."""

from __future__ import annotations

import numpy as np
import pytest

from chromaseal.adapters.pillow.sample import draw_sample
from chromaseal.receipts.image import Pixels
from chromaseal.receipts.ocr import OcrEngine, PixelQuad, turn
from chromaseal.receipts.reading import reading_of
from chromaseal.receipts.samples import SampleItem, SampleMerchant, SampleReceipt

TOLERANCE_PX = 1.0
SAMPLE = SampleReceipt(
    slug="contract",
    merchant=SampleMerchant("NORTHWIND GROCERY", ("SPRINGFIELD, IL 62701",), "(217) 555-0134"),
    date="03/14/2025",
    items=(SampleItem("BROWN BREAD", 450), SampleItem("ORANGE JUICE", 325)),
    tax_cents=62,
)
WORDS = {"NORTHWIND", "GROCERY", "BREAD", "JUICE", "4.50", "3.25", "TOTAL", "8.37"}


class OcrEngineContract:
    """Tests for one implementation; ``engine`` may be shared between tests."""

    @pytest.fixture
    def engine(self) -> OcrEngine:
        """Give the engine under test."""
        raise NotImplementedError

    def test_says_its_name_and_version(self, engine: OcrEngine) -> None:
        """The name is a word and a version, and stays the same."""
        name, version = engine.name.split(" ")
        assert name.islower()
        assert version[0].isdigit()
        assert engine.name == f"{name} {version}"

    def test_reads_a_clear_receipt(self, engine: OcrEngine) -> None:
        """Names and amounts of a clear print are found, letter by letter."""
        reading = reading_of(engine.name, engine.read(draw_sample(SAMPLE)))
        found = {word.text for line in reading.lines for word in line.words}
        assert found >= WORDS

    def test_stays_inside_the_page(self, engine: OcrEngine) -> None:
        """Quads lie on the page, words in their line, and confidences in 0..1."""
        pixels = draw_sample(SAMPLE)
        read = engine.read(pixels)
        assert (read.height_px, read.width_px) == pixels.shape[:2]
        assert read.lines
        for line in read.lines:
            assert 0 <= line.confidence <= 1
            assert _holds((0, 0, read.width_px, read.height_px), line.quad)
            for word in line.words:
                assert 0 <= word.confidence <= 1
                assert _holds(_around(line.quad), word.quad)

    def test_reads_text_from_left_to_right(self, engine: OcrEngine) -> None:
        """A quad's first corner is the top left one of the text, as it reads."""
        for line in engine.read(draw_sample(SAMPLE)).lines:
            top_left, top_right, bottom_right, bottom_left = line.quad
            assert top_left[0] < top_right[0]
            assert bottom_left[0] < bottom_right[0]
            assert top_left[1] < bottom_left[1]
            assert top_right[1] < bottom_right[1]

    def test_reads_the_same_twice(self, engine: OcrEngine) -> None:
        """The same pixels give the same answer, and are left as they were."""
        pixels = draw_sample(SAMPLE)
        pixels.flags.writeable = False
        assert engine.read(pixels) == engine.read(pixels)
        assert np.array_equal(pixels, draw_sample(SAMPLE))

    @pytest.mark.parametrize("degrees", [90, 180, 270])
    def test_turns_a_page_upright(self, engine: OcrEngine, degrees: int) -> None:
        """A turned page is turned back before it is read, and read as well."""
        read = engine.read(turn(draw_sample(SAMPLE), degrees))
        assert read.turned_degrees == 360 - degrees
        height, width = draw_sample(SAMPLE).shape[:2]
        assert (read.width_px, read.height_px) == (width, height)
        reading = reading_of(engine.name, read)
        assert {word.text for line in reading.lines for word in line.words} >= WORDS

    @pytest.mark.parametrize("shape", [(300, 200), (1, 1), (1, 2000), (2000, 1), (2000, 30)])
    def test_finds_nothing_on_white(self, engine: OcrEngine, shape: tuple[int, int]) -> None:
        """An empty page of any shape gives no lines and stays as it lies."""
        white: Pixels = np.full((*shape, 3), 255, dtype=np.uint8)
        read = engine.read(white)
        assert read.lines == ()
        assert read.turned_degrees == 0


def _around(quad: PixelQuad) -> tuple[float, float, float, float]:
    xs, ys = zip(*quad, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _holds(outer: tuple[float, float, float, float], quad: PixelQuad) -> bool:
    left, top, right, bottom = outer
    return all(
        left - TOLERANCE_PX <= x <= right + TOLERANCE_PX
        and top - TOLERANCE_PX <= y <= bottom + TOLERANCE_PX
        for x, y in quad
    )
