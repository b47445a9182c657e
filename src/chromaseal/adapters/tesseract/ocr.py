"""The tesseract program as an ``OcrEngine``."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby

import numpy as np

from chromaseal.errors import Unavailable, Unsupported
from chromaseal.receipts.image import Pixels
from chromaseal.receipts.ocr import PixelLine, PixelQuad, PixelReading, PixelWord, turn

_TIMEOUT_S = 60.0
_LONGEST_SIDE_PX = 3000
_MIN_SIDE_PX = 16
_WORD_LEVEL = "5"
_COLUMNS = 12
# Over 40 receipts, words of three letters and more that tesseract is sure of hold a third of
# the letters and more on an upright page, and at most a tenth on one that lies otherwise.
_SURE = 0.8
_SURE_LETTERS = 3
_WELL_READ = 0.2
_ENOUGH_LETTERS = 12
_CLEARLY_BETTER = 3


class TesseractEngine:
    """Tesseract with one block of text (``psm 6``) and one thread.

    Args:
        program: the binary's name or path.
        timeout_s: how long one reading of a page may take.
    """

    def __init__(self, program: str = "tesseract", *, timeout_s: float = _TIMEOUT_S) -> None:
        self._program = program
        self._timeout_s = timeout_s

    @cached_property
    def name(self) -> str:
        """Name and version of the engine.

        Raises:
            Unsupported: ``no-tesseract``.
        """
        first_line = self._run(["--version"], b"").partition("\n")[0]
        return f"tesseract {first_line.split()[-1]}"

    def read(self, pixels: Pixels) -> PixelReading:
        """Turn a page upright and read it.

        A page that is read well as it lies costs one reading; another costs four.

        Args:
            pixels: uint8, shape (height, width, 3), RGB.

        Raises:
            Unsupported: ``no-tesseract``.
            Unavailable: ``ocr-failed`` or ``ocr-timeout``.
        """
        as_it_lies = self._read(pixels, 0)
        if _is_well_read(as_it_lies.lines):
            return as_it_lies
        others = [self._read(pixels, degrees) for degrees in (90, 180, 270)]
        best = max(others, key=lambda other: _sure_letters(other.lines))
        needed = max(_ENOUGH_LETTERS, _CLEARLY_BETTER * _sure_letters(as_it_lies.lines))
        return best if _sure_letters(best.lines) >= needed else as_it_lies

    def _read(self, pixels: Pixels, degrees: int) -> PixelReading:
        """Read a page in one of its four turns."""
        page = turn(pixels, degrees)
        height, width = page.shape[:2]
        step = -(-max(height, width) // _LONGEST_SIDE_PX)
        small = _shrunk(page, step)
        lines: tuple[PixelLine, ...] = ()
        if min(small.shape[:2]) >= _MIN_SIDE_PX:
            table = self._run(["stdin", "stdout", "--psm", "6", "tsv"], _as_ppm(small))
            lines = _lines(table, step)
        return PixelReading(degrees, width, height, lines)

    def _run(self, arguments: Sequence[str], stdin: bytes) -> str:
        program = shutil.which(self._program)
        if program is None:
            raise Unsupported(
                f"The program {self._program} is not installed.",
                kind="no-tesseract",
                hint="Install it (apt-get install tesseract-ocr), or choose another engine.",
            )
        try:
            done = subprocess.run(  # noqa: S603 - the arguments are this module's own
                [program, *arguments],
                input=stdin,
                capture_output=True,
                check=True,
                timeout=self._timeout_s,
                # More threads make tesseract slower, and take other workers' cores.
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                f"tesseract took longer than {self._timeout_s:.0f} s for one page.",
                kind="ocr-timeout",
                hint="Try again when the machine is less busy, or choose another engine.",
            ) from error
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip()
            raise Unavailable(
                f"tesseract ended with exit code {error.returncode}: {said[-300:]}",
                kind="ocr-failed",
                hint="Check that its language data is installed (tesseract --list-langs).",
            ) from error
        return done.stdout.decode(errors="replace")


def _shrunk(pixels: Pixels, step: int) -> Pixels:
    """Shrink by a whole number, each pixel the mean of ``step`` by ``step``."""
    if step == 1:
        return pixels
    height, width = (side // step for side in pixels.shape[:2])
    blocks = pixels[: height * step, : width * step].reshape(height, step, width, step, 3)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32).round(), dtype=np.uint8)


def _as_ppm(pixels: Pixels) -> bytes:
    height, width = pixels.shape[:2]
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()


def _lines(table: str, step: int) -> tuple[PixelLine, ...]:
    """Build lines from tesseract's table of words.

    Args:
        table: tab-separated; level, page, block, paragraph, line, word, left, top, width,
            height, confidence in per cent, text.
        step: how many pixels of the page one pixel of the table is.
    """
    rows = [row.split("\t") for row in table.splitlines()]
    words = [row for row in rows if len(row) == _COLUMNS and row[0] == _WORD_LEVEL]
    lines = []
    for _, group in groupby((row for row in words if row[-1].strip()), key=lambda row: row[1:5]):
        found = tuple(_word(row, step) for row in group)
        lines.append(
            PixelLine(
                text=" ".join(word.text for word in found),
                quad=_around([word.quad for word in found]),
                confidence=statistics.fmean(word.confidence for word in found),
                words=found,
            )
        )
    return tuple(lines)


def _word(row: Sequence[str], step: int) -> PixelWord:
    left, top, width, height = (float(value) * step for value in row[6:10])
    right, bottom = left + width, top + height
    quad = ((left, top), (right, top), (right, bottom), (left, bottom))
    return PixelWord(row[11].strip(), quad, min(max(float(row[10]) / 100, 0.0), 1.0))


def _around(quads: Sequence[PixelQuad]) -> PixelQuad:
    xs = [x for quad in quads for x, _ in quad]
    ys = [y for quad in quads for _, y in quad]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def _is_well_read(lines: Sequence[PixelLine]) -> bool:
    letters = sum(len(word.text) for line in lines for word in line.words)
    return _sure_letters(lines) >= max(_ENOUGH_LETTERS, _WELL_READ * letters)


def _sure_letters(lines: Sequence[PixelLine]) -> int:
    """Count the letters of words that can hardly be anything else."""
    return sum(
        len(word.text)
        for line in lines
        for word in line.words
        if word.confidence > _SURE and len(word.text) >= _SURE_LETTERS
    )
