"""Both engines keep the contract; real receipts come out upright and legible."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from chromaseal.adapters.pillow.image import PillowDecoder
from chromaseal.adapters.rapidocr.ocr import RapidOcrEngine
from chromaseal.adapters.tesseract.ocr import TesseractEngine
from chromaseal.errors import Unavailable, Unsupported
from chromaseal.receipts.image import Pixels
from chromaseal.receipts.ocr import OcrEngine, PixelReading, tall_share, turn
from chromaseal.testing.ocr_contract import OcrEngineContract
from chromaseal.testing.whole import part_of

RECEIPTS = Path(__file__).parents[3] / "shared" / "receipts"
WHITE: Pixels = np.full((200, 200, 3), 255, dtype=np.uint8)


@pytest.fixture(scope="module")
def rapidocr() -> RapidOcrEngine:
    return RapidOcrEngine()


@pytest.fixture(scope="module")
def tesseract() -> TesseractEngine:
    if shutil.which("tesseract") is None:
        pytest.skip("the tesseract program is not installed")
    return TesseractEngine()


class TestRapidOcr(OcrEngineContract):
    """RapidOCR keeps the contract."""

    @pytest.fixture
    def engine(self, rapidocr: RapidOcrEngine) -> OcrEngine:
        """Give one engine for all tests: its models take a second to load."""
        return rapidocr


class TestTesseract(OcrEngineContract):
    """Tesseract keeps the contract, where it is installed."""

    @pytest.fixture
    def engine(self, tesseract: TesseractEngine) -> OcrEngine:
        """Give the engine; it keeps no state."""
        return tesseract


def test_a_missing_program_says_how_to_get_it() -> None:
    """Without its binary, tesseract is unsupported, with a hint."""
    engine = TesseractEngine("no-such-program-here")
    with pytest.raises(Unsupported, match="not installed") as caught:
        engine.read(WHITE)
    assert caught.value.kind == "no-tesseract"
    assert "apt-get install" in caught.value.hint


def stub(folder: Path, script: str) -> TesseractEngine:
    program = folder / "tesseract"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return TesseractEngine(str(program), timeout_s=0.2)


@pytest.mark.parametrize(
    ("script", "kind"),
    [("exec sleep 5", "ocr-timeout"), ("echo no data >&2; exit 3", "ocr-failed")],
)
def test_a_program_that_fails_stops_nothing(tmp_path: Path, script: str, kind: str) -> None:
    """A hanging or failing program is an error that may be tried again."""
    with pytest.raises(Unavailable) as caught:
        stub(tmp_path, script).read(WHITE)
    assert caught.value.kind == kind


def test_a_table_that_is_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """Rows that are not whole are left out."""
    row = r"5\t1\t1\t1\t1\t1\t10\t20\t30\t40\t90\tTOTAL"
    read = stub(tmp_path, f"cat >/dev/null; printf '{row}\\n5\\t1\\t1'").read(WHITE)
    (line,) = read.lines
    assert (line.text, line.confidence) == ("TOTAL", 0.9)
    assert line.quad == ((10, 20), (40, 20), (40, 60), (10, 60))


def test_making_an_engine_loads_nothing() -> None:
    """Constructors are cheap: neither models nor their libraries are loaded before a read."""
    code = (
        "import sys; from chromaseal.adapters.rapidocr.ocr import RapidOcrEngine as E; E().name;"
        "sys.exit(bool({'rapidocr', 'onnxruntime', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tall_boxes_mean_a_quarter_turn() -> None:
    """Lines that run down the page count as tall; near squares say nothing."""
    across = ((0.0, 0.0), (100.0, 0.0), (100.0, 20.0), (0.0, 20.0))
    down = ((0.0, 0.0), (20.0, 0.0), (20.0, 100.0), (0.0, 100.0))
    square = ((0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0))
    assert tall_share([across, across, square]) == 0
    assert tall_share([down, square]) == 1
    assert tall_share([square]) == tall_share([]) == 0


def real_receipts() -> list[tuple[Pixels, Counter[str], str]]:
    """Every sixth receipt; ``make test-receipts`` and ``make test-whole`` take all."""
    if not RECEIPTS.is_dir():
        pytest.skip(f"the {RECEIPTS} folder is missing")
    decoder = PillowDecoder()
    found = []
    entries = json.loads((RECEIPTS / "index.json").read_text())
    for entry in part_of(entries, 6):
        content = (RECEIPTS / "images" / entry["image"]).read_bytes()
        truth = json.loads((RECEIPTS / "truth" / f"{entry['id']}.json").read_text())
        texts = Counter(squeezed(line["text"]) for line in truth["lines"])
        found.append((decoder.decode(content, 1, name=entry["id"]), texts, entry["id"]))
    return found


def squeezed(text: str) -> str:
    return "".join(text.casefold().split())


def lines_found(read: PixelReading, truth: Counter[str]) -> int:
    return (truth & Counter(squeezed(line.text) for line in read.lines)).total()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_upright_receipts_are_never_turned(rapidocr: RapidOcrEngine) -> None:
    """No real receipt is turned, and three lines in four are read exactly."""
    exact = total = 0
    for pixels, truth, name in real_receipts():
        read = rapidocr.read(pixels)
        assert read.turned_degrees == 0, name
        exact += lines_found(read, truth)
        total += truth.total()
    assert exact >= 0.77 * total


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_turned_receipts_come_out_upright(rapidocr: RapidOcrEngine) -> None:
    """Every third of the receipts, turned by 90, 180 or 270 degrees, is turned back."""
    for number, (pixels, _, name) in enumerate(real_receipts()[::3]):
        degrees = (90, 180, 270)[number % 3]
        read = rapidocr.read(turn(pixels, degrees))
        assert read.turned_degrees == 360 - degrees, name
