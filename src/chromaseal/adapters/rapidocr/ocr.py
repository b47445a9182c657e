"""RapidOCR as an ``OcrEngine``: detect, turn the page upright if need be, recognise."""

from __future__ import annotations

import importlib.metadata
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from chromaseal.errors import Unsupported
from chromaseal.receipts.image import Pixels
from chromaseal.receipts.ocr import (
    PixelLine,
    PixelQuad,
    PixelReading,
    PixelWord,
    part_of_quad,
    reading_size,
    tall_share,
    turn,
)

_PARAMETERS: dict[str, object] = {
    "Global.use_cls": True,
    "Global.return_word_box": True,
    "Global.use_vertical_padding": False,  # _prepared pads
    "Global.log_level": "critical",
    # RapidOCR would enlarge pages to 736 pixels and pad short lines to 320. Over 40 receipts
    # these two take a third less time, and the error rate falls from 3.8 to 3.5 per cent.
    "Det.limit_side_len": 480,
    "Rec.rec_img_shape": [3, 48, 64],
    "Rec.rec_batch_num": 1,
    # One thread: a worker process has one core, and two threads on a busy one triple the time.
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}
_MAX_SIDE_PX = 1280
_MIN_SIDE_PX = 32
_READABLE_WIDTH_PX = 480  # a long receipt is not shrunk below this width
_LONGEST_SIDE_PX = 6000
_LONGEST_SHAPE = 6  # the detector enlarges narrow pages; padding bounds what that costs

_MIN_LINE_CONFIDENCE = 0.5

# Over 40 receipts in four turns, the share of text that the classifier takes for upside down
# is at most 0.29 where it is not and at least 0.62 where it is.
_EVEN = 0.5
_MAYBE_UPSIDE_DOWN = 0.4
_GLANCES = 16
_PROBES = 6
_LONG_ENOUGH = 8.0
_CLEARLY_BETTER = 1.3


@dataclass(frozen=True, slots=True)
class _Crop:
    """A piece of text: its corners on the page, as the crop reads, and its BGR pixels."""

    quad: PixelQuad
    pixels: Pixels

    @property
    def shape(self) -> float:
        """Width by height: how much text there is."""
        return float(self.pixels.shape[1] / self.pixels.shape[0])


class RapidOcrEngine:
    """PP-OCRv6 small models through RapidOCR, one thread; models load at the first read."""

    def __init__(self) -> None:
        self._loaded: Any = None

    @property
    def name(self) -> str:
        """Name and version of the engine.

        Raises:
            Unsupported: ``no-rapidocr``.
        """
        try:
            return f"rapidocr {importlib.metadata.version('rapidocr')}"
        except importlib.metadata.PackageNotFoundError as error:
            raise _not_installed() from error

    def read(self, pixels: Pixels) -> PixelReading:
        """Turn a page upright and read it.

        An upright page costs no second detection: what decided is also what is read.

        Args:
            pixels: uint8, shape (height, width, 3), RGB.

        Raises:
            Unsupported: ``no-rapidocr``.
        """
        crops = self._crops(pixels)
        degrees = self._turn_of(crops)
        if degrees:
            pixels = turn(pixels, degrees)
            crops = self._crops(pixels)
        height, width = pixels.shape[:2]
        return PixelReading(degrees, width, height, self._lines(crops))

    def _models(self) -> Any:  # noqa: ANN401 - the package has no types
        if self._loaded is None:
            self._loaded = _load()
        return self._loaded

    def _crops(self, pixels: Pixels) -> list[_Crop]:
        """Find the text on a page and cut it out."""
        models = self._models()
        small, scale = _prepared(pixels)
        try:
            cuts, detected = models.detect_and_crop(small, {})
        except _nothing_found():
            return []
        boxes = (_page_quad(box, pixels, scale) for box in detected.boxes)
        return [_Crop(_reading_quad(box, cut), cut) for box, cut in zip(boxes, cuts, strict=True)]

    def _turn_of(self, crops: Sequence[_Crop]) -> int:
        """Decide how far a page must be turned counter-clockwise; 0 unless clearly otherwise.

        Crops of tall boxes have been turned a quarter already, so upside down is the only
        question left; it is settled by reading a few crops both ways.
        """
        if not crops:
            return 0
        quarter = 90 if tall_share([crop.quad for crop in crops]) > _EVEN else 0
        longest = sorted(crops, key=lambda crop: -min(crop.shape, _LONG_ENOUGH))
        if not quarter and self._upside_down_share(longest[:_GLANCES]) < _MAYBE_UPSIDE_DOWN:
            return 0
        cuts = [crop.pixels for crop in longest[:_PROBES]]
        as_is = self._legibility(cuts)
        flipped = self._legibility([_flip(cut) for cut in cuts])
        if flipped > _CLEARLY_BETTER * as_is:
            return quarter + 180
        return quarter if as_is > _CLEARLY_BETTER * flipped else 0

    def _upside_down_share(self, crops: Sequence[_Crop]) -> float:
        """Say how much of the text the classifier takes for upside down, by length, in 0..1."""
        _, seen = self._models().cls_and_rotate([crop.pixels for crop in crops])
        labelled = zip(crops, seen.cls_res, strict=True)
        upside_down = sum(crop.shape for crop, (label, _) in labelled if "180" in label)
        return upside_down / sum(crop.shape for crop in crops)

    def _legibility(self, cuts: list[Pixels]) -> float:
        """Sum up how much text there is, each letter weighed by its line's confidence."""
        read = self._models().recognize_txt(cuts)
        return float(sum(len(t) * score for t, score in zip(read.txts, read.scores, strict=True)))

    def _lines(self, crops: Sequence[_Crop]) -> tuple[PixelLine, ...]:
        """Read the crops of an upright page.

        Single crops are never flipped: on an upright page the classifier is wrong about one in
        fifteen, and not flipping takes the character error rate from 4.4 to 3.8 per cent.
        """
        if not crops:
            return ()
        read = self._models().recognize_txt([crop.pixels for crop in crops])
        rows = zip(crops, read.txts, read.scores, read.word_results, strict=True)
        return tuple(
            _line(crop.quad, text, score, found)
            for crop, text, score, found in rows
            if text.strip() and score >= _MIN_LINE_CONFIDENCE
        )


def _load() -> Any:  # noqa: ANN401 - the package has no types
    """Build the models' holder; each model loads when it is first used."""
    try:
        import cv2  # noqa: PLC0415 - may be missing, and takes a second with the next
        from rapidocr import RapidOCR  # noqa: PLC0415
    except ImportError as error:
        raise _not_installed() from error
    cv2.setNumThreads(1)
    return RapidOCR(params=_PARAMETERS)


def _nothing_found() -> type[Exception]:
    """Give the error that RapidOCR raises where there is no text."""
    from rapidocr.main import RapidOCRError  # noqa: PLC0415 - loaded with the models

    error: type[Exception] = RapidOCRError
    return error


def _not_installed() -> Unsupported:
    return Unsupported(
        "RapidOCR is not installed, so images cannot be read with it.",
        kind="no-rapidocr",
        hint="pip install 'chromaseal[receipts]', or choose another engine.",
    )


def _prepared(pixels: Pixels) -> tuple[Pixels, float]:
    """Shrink a page to what the detector needs, and pad a very narrow or tiny one.

    Returns:
        BGR pixels whose top left corner is the page's, and their scale: below 1 when shrunk.
    """
    import cv2  # noqa: PLC0415 - loaded with the models

    height, width = pixels.shape[:2]
    scale = _scale(max(height, width), min(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        shrunk = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        pixels = np.asarray(shrunk, dtype=np.uint8)
    height, width = pixels.shape[:2]
    least = max(_MIN_SIDE_PX, max(height, width) // _LONGEST_SHAPE)
    below, right = max(0, least - height), max(0, least - width)
    if below or right:
        page = np.full((height + below, width + right, 3), 255, dtype=np.uint8)
        page[:height, :width] = pixels
        pixels = page
    return np.ascontiguousarray(pixels[:, :, ::-1]), scale


def _scale(long_px: int, short_px: int) -> float:
    """Choose how far to shrink: to 1,280 pixels, but a long receipt stays wide enough to read."""
    wanted = max(_MAX_SIDE_PX / long_px, _READABLE_WIDTH_PX / short_px)
    return min(1.0, wanted, _LONGEST_SIDE_PX / long_px)


def _page_quad(box: Any, page: Pixels, scale: float) -> PixelQuad:  # noqa: ANN401
    """Take a detected box, four points, back to the page's own pixels, and into the page."""
    height, width = page.shape[:2]
    a, b, c, d = (
        (min(max(float(x) / scale, 0.0), width), min(max(float(y) / scale, 0.0), height))
        for x, y in box
    )
    return (a, b, c, d)


def _flip(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[::-1, ::-1])


def _reading_quad(box: PixelQuad, cut: Pixels) -> PixelQuad:
    """Give a box's corners as the crop reads: tall boxes are cut out turned by a quarter."""
    width, height = reading_size(box)
    if cut.shape[1] > cut.shape[0] and height > width:
        return (box[1], box[2], box[3], box[0])
    return box


def _line(quad: PixelQuad, text: str, score: float, found: Any) -> PixelLine:  # noqa: ANN401
    """Build a line, its words placed by the columns in which their letters were recognised.

    Args:
        quad: the line's corners as it was read.
        text: its text.
        score: mean confidence.
        found: RapidOCR's ``WordInfo``: the columns of all letters but spaces, the line's length
            in columns, and the confidence of each letter and space.
    """
    columns = [column for word in found.word_cols for column in word]
    confidences = [c for c, letter in zip(found.confs, text, strict=False) if not letter.isspace()]
    words = text.split()
    if not len(columns) == len(confidences) == sum(map(len, words)):
        return PixelLine(text, quad, score)
    spans = _spans(words, columns, found.line_txt_len)
    placed = []
    first = 0
    for word, (start, end) in zip(words, spans, strict=True):
        confidence = statistics.fmean(confidences[first : first + len(word)])
        placed.append(PixelWord(word, part_of_quad(quad, start, end), confidence))
        first += len(word)
    return PixelLine(text, quad, score, tuple(placed))


def _spans(
    words: Sequence[str], columns: Sequence[int], length_columns: float
) -> list[tuple[float, float]]:
    """Say where each word begins and ends, as fractions of the line's length.

    A column is where a letter's middle was seen; words reach half a letter further on both
    sides, but never into each other.
    """
    steps = [b - a for a, b in pairwise(columns)]
    half = (statistics.median(steps) if steps else length_columns) / 2
    spans: list[tuple[float, float]] = []
    first = 0
    for word in words:
        last = first + len(word) - 1
        start = (columns[first] + 0.5 - half) / length_columns
        end = (columns[last] + 0.5 + half) / length_columns
        if spans and start < spans[-1][1]:
            start = (start + spans[-1][1]) / 2
            spans[-1] = (spans[-1][0], start)
        spans.append((min(max(start, 0.0), 1.0), min(max(end, 0.0), 1.0)))
        first = last + 1
    return spans
