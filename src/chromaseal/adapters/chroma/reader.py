"""A reader over ChromaDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from chromadb.errors import InvalidArgumentError
from numpy.typing import NDArray

from chromaseal.adapters.chroma.client import opened
from chromaseal.adapters.chroma.collection import BATCH_RECORDS, find_collection, read_records
from chromaseal.errors import Damaged, RefusedInput
from chromaseal.reader import Hit
from chromaseal.record import Record, Scalar
from chromaseal.snapshot.manifest import Version


class ChromaReader:
    """One version of a collection, in a directory that is this reader's alone.

    Args:
        version: which version.
        directory: the private copy.
        held: what goes when the reader is closed, the copy among it.
    """

    def __init__(self, version: Version, directory: Path, held: ExitStack) -> None:
        self._version = version
        self._held = held
        client = held.enter_context(opened(directory))
        collection = find_collection(client, version.manifest.collection)
        if collection is None:
            raise Damaged(
                f"version {version.version_id} has no collection {version.manifest.collection}",
                kind="no-collection",
            )
        self._collection = collection

    @property
    def version(self) -> Version:
        """Say which version this is."""
        return self._version

    def count(self) -> int:
        """Count the records."""
        return self._collection.count()

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """Give those of the named records that exist."""
        return read_records(self._collection, ids)

    def records(self) -> Iterator[Record]:
        """Give every record, in pages."""
        offset = 0
        while ids := self._collection.get(limit=BATCH_RECORDS, offset=offset, include=[])["ids"]:
            yield from read_records(self._collection, ids).values()
            offset += len(ids)

    def nearest(
        self,
        vectors: NDArray[np.float32],
        *,
        limit: int = 10,
        where: Mapping[str, Scalar] | None = None,
        contains: str = "",
    ) -> list[list[Hit]]:
        """Search by vector."""
        pin = self._version.manifest.model
        if pin is not None and vectors.shape[1] != pin.dimension:
            raise RefusedInput(
                f"a query of {vectors.shape[1]} dimensions; the collection is of {pin}",
                kind="wrong-dimension",
            )
        with _asked():
            answer = self._collection.query(
                query_embeddings=vectors,
                n_results=limit,
                where=_where(where),
                where_document={"$contains": contains} if contains else None,
                include=["documents", "metadatas", "distances"],
            )
        columns: Any = zip(
            answer["ids"],
            answer["documents"] or [],
            answer["metadatas"] or [],
            answer["distances"] or [],
            strict=True,
        )
        return [[Hit(i, d, m or {}, far) for i, d, m, far in zip(*c, strict=True)] for c in columns]

    def find(
        self,
        *,
        limit: int = 10,
        where: Mapping[str, Scalar] | None = None,
        contains: str = "",
    ) -> list[Hit]:
        """Search by metadata and exact text only."""
        with _asked():
            answer = self._collection.get(
                where=_where(where),
                where_document={"$contains": contains} if contains else None,
                limit=limit,
                include=["documents", "metadatas"],
            )
        columns: Any = zip(
            answer["ids"], answer["documents"] or [], answer["metadatas"] or [], strict=True
        )
        return [Hit(record_id, document, meta or {}, None) for record_id, document, meta in columns]

    def close(self) -> None:
        """Close the copy and remove it."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except (InvalidArgumentError, ValueError, TypeError) as error:
        raise RefusedInput(
            f"ChromaDB cannot search like that: {error}",
            kind="bad-query",
            hint="vectors as long as the collection's, and a limit of at least 1",
        ) from error


def _where(where: Mapping[str, Scalar] | None) -> Any:  # noqa: ANN401 - ChromaDB's own type
    if not where:
        return None
    clauses = [{key: value} for key, value in where.items()]
    return clauses[0] if len(clauses) == 1 else {"$and": clauses}
