"""A vault and the receipts front, put together: engines and models by name."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.embedding import Embedder, ModelPin, Vectors
from chromaseal.errors import Unsupported, UsageError
from chromaseal.pin import check_pin
from chromaseal.receipts.crop import crop
from chromaseal.receipts.image import ImageDecoder, ImageFile, SniffingDecoder
from chromaseal.receipts.ingest import Ingest, Tools, reader_id
from chromaseal.receipts.model import Reading
from chromaseal.receipts.ocr import OcrEngine
from chromaseal.receipts.page_work import PageResult, PageWorker
from chromaseal.receipts.reader_memory import ReaderMerchantMemory
from chromaseal.receipts.reading import reading_from_json, reading_to_json
from chromaseal.receipts.records import LINES_COLLECTION, WORDS_COLLECTION
from chromaseal.receipts.search import Found
from chromaseal.sandbox import Limits
from chromaseal.vault import Vault

if TYPE_CHECKING:
    from chromaseal.adapters.minilm.embedding import MiniLmEmbedder

DEFAULT_ENGINE = "rapidocr"
DEFAULT_MODEL = "minilm"
CACHED_MODEL = "minilm-chromadb-cache"
ENGINES = ("rapidocr", "tesseract")
_CHROMA_PREFIX = "chromadb:"
# A page takes seconds; a process that needs longer than this has met something hostile.
_PAGE_LIMITS = Limits(timeout_s=300, memory_bytes=8 << 30, file_size_bytes=1 << 30)


def require_extra() -> None:
    """Refuse to go on where the extra ``receipts`` is not installed.

    Raises:
        Unsupported: ``missing-extra``.
    """
    try:
        import PIL  # noqa: F401, PLC0415
        import pypdfium2  # noqa: F401, PLC0415
        import rapidfuzz  # noqa: F401, PLC0415
    except ImportError as error:
        raise Unsupported(
            f"reading receipts needs packages that are not installed: {error}",
            kind="missing-extra",
            hint="pip install 'chromaseal[receipts]'",
        ) from error


def image_decoder() -> ImageDecoder:
    """Give the decoder for every format there is."""
    require_extra()
    from chromaseal.adapters.pdfium.image import PdfiumDecoder  # noqa: PLC0415
    from chromaseal.adapters.pillow.image import PillowDecoder  # noqa: PLC0415

    return SniffingDecoder(pictures=PillowDecoder(), documents=PdfiumDecoder())


def ocr_engine(name: str) -> OcrEngine:
    """Give an OCR engine by name; models are loaded when it first reads.

    Raises:
        UsageError: ``unknown-engine``.
        Unsupported: it is not installed.
    """
    require_extra()
    if name == "rapidocr":
        from chromaseal.adapters.rapidocr.ocr import RapidOcrEngine  # noqa: PLC0415

        return RapidOcrEngine()
    if name == "tesseract":
        from chromaseal.adapters.tesseract.ocr import TesseractEngine  # noqa: PLC0415

        return TesseractEngine()
    raise UsageError(
        f"there is no OCR engine {name!r}",
        kind="unknown-engine",
        hint=f"there are: {', '.join(ENGINES)}",
    )


def embedder(name: str) -> Embedder:
    """Give an embedding model by name.

    Args:
        name: ``minilm``; ``minilm-chromadb-cache``, the same model from ChromaDB's own cache;
            or ``chromadb:NAME`` or ``chromadb:NAME={...}``, any function that ChromaDB knows,
            with its configuration as JSON.

    Raises:
        UsageError: ``unknown-model``.
        Unsupported: it is not installed.
    """
    if name in (DEFAULT_MODEL, CACHED_MODEL):
        return _minilm(name)
    if name.startswith(_CHROMA_PREFIX):
        from chromaseal.adapters.chroma.embedding import ChromaEmbedder  # noqa: PLC0415

        function, _, config = name.removeprefix(_CHROMA_PREFIX).partition("=")
        try:
            return ChromaEmbedder(function, json.loads(config or "{}"))
        except json.JSONDecodeError as error:
            raise UsageError(
                f"the configuration of {name!r} is no JSON: {error}", kind="unknown-model"
            ) from error
    raise UsageError(
        f"there is no embedding model {name!r}",
        kind="unknown-model",
        hint=f"there are: {DEFAULT_MODEL}, {CACHED_MODEL}, {_CHROMA_PREFIX}NAME",
    )


def model_for(pin: ModelPin | None) -> str:
    """Give the name of the model that a collection is pinned to, the default for a new one."""
    if pin is not None and pin.name == "all-MiniLM-L6-v2" and "chromadb" in pin.version:
        return CACHED_MODEL
    if pin is not None and pin.name.startswith(_CHROMA_PREFIX):
        return pin.name
    return DEFAULT_MODEL


def page_worker(engine: str, model: str) -> PageWorker:
    """Give what reads and embeds pages in this process."""
    return PageWorker(image_decoder(), ocr_engine(engine), embedder(model), SystemClock())


@contextmanager
def open_ingest(
    vault: Vault, *, jobs: int = 0, engine: str = DEFAULT_ENGINE, model: str = ""
) -> Iterator[Ingest]:
    """Give what brings images into a vault; its worker processes end with the block.

    Args:
        vault: where to.
        jobs: pages worked on at once; 0 for one per processor.
        engine: OCR engine by name.
        model: embedding model by name; empty for the one that ``lines`` is pinned to.

    Raises:
        UsageError: ``unknown-engine`` or ``unknown-model``.
        Conflict: ``other-model``, the vault's collections are pinned to another one.
        Unsupported: something is not installed.
    """
    require_extra()
    from chromaseal.adapters.rapidfuzz.text_similarity import RapidFuzzSimilarity  # noqa: PLC0415

    pin = vault.pin(LINES_COLLECTION)
    model = model or model_for(pin.model if pin else None)
    workers = jobs or len(os.sched_getaffinity(0))
    with ExitStack() as held:
        pool = _WorkerPool(workers, engine, model)
        held.callback(pool.close)
        chosen = embedder(model).pin
        for name in (LINES_COLLECTION, WORDS_COLLECTION):
            # Before anything is read: a model that does not fit would be refused at the end.
            if (pinned := vault.pin(name)) is not None:
                check_pin(pinned, replace(pinned, model=chosen, dimension=chosen.dimension))
        memory = None
        if vault.has_version(LINES_COLLECTION):
            memory = ReaderMerchantMemory(held.enter_context(vault.reader(LINES_COLLECTION)))
        yield Ingest(
            vault,
            Tools(
                decoder=image_decoder(),
                work=pool.work,
                workers=workers,
                engine=ocr_engine(engine).name,
                model=chosen,
                similarity=RapidFuzzSimilarity(),
                memory=memory,
            ),
        )


def save_crop(vault: Vault, found: Found, path: Path) -> str:
    """Write the piece of the image that a search found.

    Returns:
        The path; empty for a record that is not of a receipt.
    """
    if found.place is None:
        return ""
    from chromaseal.adapters.pillow.picture import write_png  # noqa: PLC0415

    runs = vault.parts.ledger.find("image_id", found.place.image_id)
    engine = runs[0].attributes.get("engine", "") if runs else ""
    pixels = crop(vault, image_decoder(), found.place.image_id, reader_id(engine), found.place.box)
    write_png(pixels, path)
    return str(path)


class _WorkerPool:
    """Worker processes, each with its models loaded and one thread to compute with."""

    def __init__(self, workers: int, engine: str, model: str) -> None:
        self._engine = engine
        self._model = model
        self._pool = SandboxPool([ProcessSandbox(fork=False) for _ in range(workers)])
        self._pool.start()

    def work(self, image: ImageFile, page_number: int, reading: Reading | None) -> PageResult:
        """Have an idle process read and embed a page."""
        answer = self._pool.run(
            "read-receipt",
            {
                "path": str(image.path.absolute()),
                "source_name": image.source_name,
                "digest": image.digest,
                "pages": image.pages,
                "page_number": page_number,
                "engine": self._engine,
                "model": self._model,
                "reading": reading_to_json(reading) if reading else None,
            },
            limits=_PAGE_LIMITS,
        )
        dimension = answer["dimension"]
        return PageResult(
            reading=reading_from_json(answer["reading"]),
            row_vectors=_decoded(answer["row_vectors"], dimension),
            word_vectors=_decoded(answer["word_vectors"], dimension),
            durations_s=answer["durations_s"],
        )

    def close(self) -> None:
        """End the processes."""
        self._pool.close()


def _decoded(text: str, dimension: int) -> Vectors:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(-1, dimension)


def _minilm(name: str) -> MiniLmEmbedder:
    try:
        from chromaseal.adapters.minilm.embedding import MiniLmEmbedder  # noqa: PLC0415
    except ImportError as error:
        raise Unsupported(
            f"the embedding model needs packages that are not installed: {error}",
            kind="missing-extra",
            hint="pip install 'chromaseal[receipts]'",
        ) from error
    return MiniLmEmbedder("wheel" if name == DEFAULT_MODEL else "chromadb-cache")
