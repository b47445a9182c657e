"""One page -> its reading and the vectors of its rows and words; the heavy part of ingesting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from chromaseal.clock import Clock
from chromaseal.embedding import Embedder, Vectors
from chromaseal.receipts.context import row_inputs
from chromaseal.receipts.image import ImageDecoder, ImageFile, load_page
from chromaseal.receipts.model import Reading
from chromaseal.receipts.ocr import OcrEngine
from chromaseal.receipts.reading import reading_of
from chromaseal.receipts.tilt import rows_of, words_of


@dataclass(frozen=True, slots=True, eq=False)
class PageResult:
    """What the heavy part gives.

    Attributes:
        reading: what OCR found.
        row_vectors: float32, shape (rows, dimension), in the order of ``rows_of``.
        word_vectors: float32, shape (words, dimension), in the order of ``words_of``.
        durations_s: seconds by step: ``decode``, ``ocr``, ``embed``.
    """

    reading: Reading
    row_vectors: Vectors
    word_vectors: Vectors
    durations_s: dict[str, float] = field(default_factory=dict)


class PageWorker:
    """Reads and embeds pages, one at a time; its models stay loaded.

    Args:
        decoder: turns files into pixels.
        engine: reads text off pixels.
        embedder: makes vectors.
        clock: measures the steps.
    """

    def __init__(
        self, decoder: ImageDecoder, engine: OcrEngine, embedder: Embedder, clock: Clock
    ) -> None:
        self._decoder = decoder
        self._engine = engine
        self._embedder = embedder
        self._clock = clock

    def work(self, image: ImageFile, page_number: int, reading: Reading | None) -> PageResult:
        """Read and embed one page.

        Args:
            image: the file, as it was inspected.
            page_number: from 1.
            reading: what OCR found on the page before, if it was read already.

        Raises:
            RefusedInput: the page cannot be decoded, or the file has changed.
            Unsupported: the OCR engine is not installed.
        """
        durations_s: dict[str, float] = {}
        if reading is None:
            with self._timed("decode", durations_s):
                page = load_page(image, page_number, self._decoder)
            with self._timed("ocr", durations_s):
                found = self._engine.read(page.pixels)
            reading = reading_of(self._engine.name, found)
        with self._timed("context", durations_s):
            rows = row_inputs(rows_of(reading))
            words = [word.embedding_input for word in words_of(reading)]
        with self._timed("embed", durations_s):
            vectors = self._embedder.embed([*rows, *words])
        row_vectors, word_vectors = np.split(vectors, [len(rows)])
        return PageResult(reading, row_vectors, word_vectors, durations_s)

    @contextmanager
    def _timed(self, step: str, durations_s: dict[str, float]) -> Iterator[None]:
        start = self._clock.monotonic_s()
        yield
        durations_s[step] = self._clock.monotonic_s() - start
