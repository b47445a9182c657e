"""The job "read-receipt": a page's path -> its reading and vectors, in a process that stays."""

from __future__ import annotations

import base64
import functools
from pathlib import Path

import numpy as np

from chromaseal.composition.receipts import page_worker
from chromaseal.embedding import Vectors
from chromaseal.receipts.image import ImageFile
from chromaseal.receipts.page_work import PageWorker
from chromaseal.receipts.reading import reading_from_json, reading_to_json
from chromaseal.sandbox import Plain, Progress


def run(request: Plain, progress: Progress) -> Plain:
    """Read and embed one page.

    Args:
        request: ``path``, ``source_name``, ``digest``, ``pages``, ``page_number``; ``engine``
            and ``model`` by name; ``reading``, if the page was read before.
        progress: not used; a page takes seconds.

    Returns:
        ``reading``, ``row_vectors`` and ``word_vectors`` (base64 of float32, little endian),
        ``dimension``, ``durations_s``.
    """
    del progress
    image = ImageFile(
        path=Path(request["path"]),
        source_name=request["source_name"],
        digest=request["digest"],
        pages=request["pages"],
    )
    known = reading_from_json(request["reading"]) if request["reading"] else None
    worker = _worker(request["engine"], request["model"])
    result = worker.work(image, request["page_number"], known)
    return {
        "reading": reading_to_json(result.reading),
        "row_vectors": _encoded(result.row_vectors),
        "word_vectors": _encoded(result.word_vectors),
        "dimension": result.row_vectors.shape[1],
        "durations_s": result.durations_s,
    }


@functools.cache
def _worker(engine: str, model: str) -> PageWorker:
    return page_worker(engine, model)


def _encoded(vectors: Vectors) -> str:
    return base64.b64encode(np.ascontiguousarray(vectors, dtype="<f4").tobytes()).decode()
