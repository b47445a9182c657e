"""The job "ask-stock": what ChromaDB as it is says of a directory; it may die of it or hang."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from chromadb.api.models.Collection import Collection
from chromadb.config import Settings

from chromaseal.reproduction.application import Plan, vector_of
from chromaseal.reproduction.asked import QUESTIONS
from chromaseal.sandbox import Plain, Progress

_PAGE_RECORDS = 1_000
_HITS = 10


def run(request: Plain, progress: Progress) -> Plain:
    """Open a directory, count, search, and read all of it.

    Args:
        request: ``directory``, a private copy; ``collection``; ``plan``, what was written.
        progress: called with the number of each question before it is asked.

    Returns:
        ``errors``, by question, the first line of what ChromaDB raised; ``count``; ``hits`` of
        a search for ten; ``batches``, the batch of each record by id; ``found``, how many
        records a search for all finds; ``wrong_vectors``, records whose vector is another.
    """
    asking = _Asking(Plan(**request["plan"]))
    questions: Sequence[Callable[[], None]] = (
        lambda: asking.open(Path(request["directory"]), request["collection"]),
        asking.count,
        asking.search,
        asking.read_all,
        asking.search_for_all,
        asking.read_vectors,
    )
    for number, (name, question) in enumerate(zip(QUESTIONS, questions, strict=True)):
        progress(number, 0)
        if QUESTIONS[0] not in asking.answer["errors"]:
            asking.ask(name, question)
    return asking.answer


class _Asking:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._collection: Collection | None = None
        self.answer: Plain = {
            "errors": {},
            "count": 0,
            "hits": 0,
            "batches": {},
            "found": 0,
            "wrong_vectors": 0,
        }

    def ask(self, name: str, question: Callable[[], None]) -> None:
        """Ask, and keep what was raised: that is an answer too."""
        try:
            question()
        # Whatever ChromaDB raises over a damaged directory is what it says of it.
        except Exception as error:  # noqa: BLE001
            self.answer["errors"][name] = (str(error).splitlines() or [type(error).__name__])[0]

    def open(self, directory: Path, collection: str) -> None:
        """Open the directory as any application does."""
        client = chromadb.PersistentClient(directory, settings=Settings(anonymized_telemetry=False))
        self._collection = client.get_collection(collection, embedding_function=None)

    def count(self) -> None:
        """Count the records."""
        self.answer["count"] = self._opened().count()

    def search(self) -> None:
        """Search for ten, as an application would."""
        self.answer["hits"] = len(self._nearest(_HITS))

    def read_all(self) -> None:
        """Read what every record says of itself."""
        for page in self._pages("metadatas"):
            named = zip(page["ids"], page["metadatas"], strict=True)
            # A damaged one may have lost what it says of itself.
            self.answer["batches"] |= {name: (said or {}).get("batch", -1) for name, said in named}

    def search_for_all(self) -> None:
        """Search for as many as there are; what is not found then never is."""
        self.answer["found"] = len(set(self._nearest(max(self.answer["count"], 1))))

    def read_vectors(self) -> None:
        """Compare every vector with what was written."""
        batches = self.answer["batches"]
        for page in self._pages("embeddings"):
            for name, vector in zip(page["ids"], page["embeddings"], strict=True):
                written = vector_of(self._plan, int(name[1:]), batches[name])
                self.answer["wrong_vectors"] += not np.array_equal(written, vector)

    def _opened(self) -> Collection:
        if self._collection is None:
            raise RuntimeError("nothing was opened")
        return self._collection

    def _nearest(self, limit: int) -> list[str]:
        vectors = vector_of(self._plan, 0, 0)[None]
        answer = self._opened().query(query_embeddings=vectors, n_results=limit, include=[])
        return answer["ids"][0]

    def _pages(self, column: Any) -> Iterator[Any]:  # noqa: ANN401 - ChromaDB's own types
        offset = 0
        while True:
            page = self._opened().get(limit=_PAGE_RECORDS, offset=offset, include=[column])
            if not page["ids"]:
                return
            yield page
            offset += _PAGE_RECORDS
