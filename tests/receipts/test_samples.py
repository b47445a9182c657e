"""Sample receipts: the same every time, small, and read nearly perfectly."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np
import pytest

from chromaseal.adapters.pillow.image import PillowDecoder
from chromaseal.adapters.pillow.sample import draw_sample, write_sample
from chromaseal.adapters.rapidocr.ocr import RapidOcrEngine
from chromaseal.receipts.reading import reading_of
from chromaseal.receipts.samples import SAMPLES, SampleReceipt, money, printed_rows


def ids(sample: SampleReceipt) -> str:
    return sample.slug


@pytest.fixture(scope="module")
def engine() -> RapidOcrEngine:
    return RapidOcrEngine()


def test_there_is_something_of_everything() -> None:
    """Eight receipts of six merchants: both layouts, tilted ones, a blurred one."""
    assert len({sample.slug for sample in SAMPLES}) == len(SAMPLES) == 8
    assert len({sample.merchant.name for sample in SAMPLES}) == 6
    assert {sample.layout for sample in SAMPLES} == {"one-column", "two-columns"}
    assert sum(sample.tilt_degrees != 0 for sample in SAMPLES) == 2
    assert sum(sample.blur_px != 0 for sample in SAMPLES) == 1


@pytest.mark.parametrize("sample", SAMPLES, ids=ids)
def test_sums_add_up(sample: SampleReceipt) -> None:
    """The printed total is the items' prices and the tax."""
    total = sum(item.price_cents for item in sample.items) + sample.tax_cents
    printed = {row.text: row.amount for row in printed_rows(sample)}
    assert printed["TOTAL"] == money(total)


@pytest.mark.parametrize("sample", SAMPLES, ids=ids)
def test_drawing_is_the_same_every_time(sample: SampleReceipt) -> None:
    """Two drawings are equal in every pixel, RGB and small."""
    pixels = draw_sample(sample)
    assert np.array_equal(pixels, draw_sample(sample))
    assert pixels.dtype == np.uint8
    height, width, channels = pixels.shape
    assert channels == 3
    assert width < 600
    assert height < 900


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_files_decode_to_what_was_drawn(tmp_path: Path, suffix: str) -> None:
    """A written sample is an image like any other."""
    path = tmp_path / f"sample{suffix}"
    write_sample(SAMPLES[0], path)
    pixels = PillowDecoder().decode(path.read_bytes(), 1, name=path.name)
    difference = pixels.astype(np.int16) - draw_sample(SAMPLES[0])
    assert np.abs(difference).mean() < (0.01 if suffix == ".png" else 3)


def words(text: str) -> list[str]:
    return text.upper().split()


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES, ids=ids)
def test_the_engine_reads_what_was_printed(engine: RapidOcrEngine, sample: SampleReceipt) -> None:
    """Read in order, a sample says what was printed, but for one word in twenty."""
    reading = reading_of(engine.name, engine.read(draw_sample(sample)))
    read = [word for line in reading.lines for word in words(line.text)]
    rows = printed_rows(sample)
    printed = [word for row in rows for word in words(f"{row.text} {row.amount}")]
    matcher = difflib.SequenceMatcher(a=printed, b=read, autojunk=False)
    kept = sum(block.size for block in matcher.get_matching_blocks())
    assert kept >= 0.95 * max(len(printed), len(read)), (printed, read)
