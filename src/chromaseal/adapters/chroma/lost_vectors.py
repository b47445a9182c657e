"""Has ChromaDB the vectors that it was given? For those that no hash tells of.

ChromaDB was seen to keep a record's older vector in its index where the log's last entry has
another (RFC 0008). Where vectors are in the multiset hash, verification finds that. A cosine
collection divides them by their length, so they are not, and a flush takes their entries out of
the log: who merges into one asks for them while they can still be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from chromadb.api.models.Collection import Collection
from numpy.typing import NDArray

from chromaseal.adapters.chroma.collection import batches
from chromaseal.adapters.chroma.database import Database
from chromaseal.errors import Damaged
from chromaseal.seal.log import given_vectors, same_vector, split_log
from chromaseal.seal.quiet import DATABASE

COSINE = "cosine"
_NAMED = 3
_OURS = ("default_tenant", "default_database")


def waiting_vectors(directory: Path, collection: str) -> dict[str, NDArray[np.float32]]:
    """Give the vectors by id that a collection's log has and its index has not yet.

    Args:
        directory: a private one that ChromaDB does not have open here.
        collection: a collection's name; of others than cosine ones nothing is given.
    """
    if not (directory / DATABASE).exists():
        return {}
    with Database(directory) as database:
        for row in database.collections():
            is_asked = (row.tenant, row.database) == _OURS
            if row.name != collection or row.space != COSINE or not is_asked:
                continue
            segments = dict(database.segments(row.collection_id))
            flushed = database.max_seq_id(segments["VECTOR"]) if "VECTOR" in segments else 0
            _, waiting = split_log(database.log(row.collection_id), flushed)
            return given_vectors(waiting)
    return {}


def refuse_lost(collection: Collection, given: Mapping[str, NDArray[np.float32]]) -> None:
    """Compare what ChromaDB has with what it was given, by direction.

    Args:
        collection: an open cosine collection.
        given: vectors by id; float32 of shape (dimension,).

    Raises:
        Damaged: ``lost-vectors``.
    """
    lost: list[str] = []
    for batch in batches(list(given)):
        answer = collection.get(ids=batch, include=["embeddings"])
        vectors = np.asarray(answer["embeddings"], dtype=np.float32)
        lost += [
            record_id
            for record_id, vector in zip(answer["ids"], vectors, strict=True)
            # What is not finite another check tells of.
            if np.isfinite(vector).all() and not same_vector(vector, given[record_id], COSINE)
        ]
    if lost:
        named = ", ".join(lost[:_NAMED]) + (", ..." if len(lost) > _NAMED else "")
        raise Damaged(
            f"ChromaDB has other vectors than it was given of {len(lost)} records: {named}",
            kind="lost-vectors",
        )
