"""ChromaDB's collections in chromaseal's terms: records in, records out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from chromadb.api import ClientAPI
from chromadb.api.models.Collection import Collection
from chromadb.errors import NotFoundError

from chromaseal.record import MetadataPatch, Record

# ChromaDB refuses calls of more than 5,461 records, and is fastest just below that.
BATCH_RECORDS = 5000


def find_collection(client: ClientAPI, name: str) -> Collection | None:
    """Give a collection; None where there is none. Its embedding function is not loaded."""
    try:
        return client.get_collection(name, embedding_function=None)
    except NotFoundError:
        return None


def create_collection(
    client: ClientAPI, name: str, *, space: str, with_default_model: bool
) -> Collection:
    """Make a collection as the existing pipeline's readers know it.

    Args:
        client: an open client.
        name: the collection's name.
        space: ``l2``, ``cosine`` or ``ip``; l2 is what ChromaDB takes when nothing is said.
        with_default_model: whether the vectors are those of ChromaDB's default embedding
            function, so that a stock client can query by text.
    """
    options: dict[str, Any] = {} if with_default_model else {"embedding_function": None}
    if space != "l2":
        options["configuration"] = {"hnsw": {"space": space}}
    return client.create_collection(
        name, metadata={"description": f"Collection: {name}"}, **options
    )


def space_of(collection: Collection) -> str:
    """Give a collection's distance: ``l2``, ``cosine`` or ``ip``."""
    hnsw = collection.configuration_json.get("hnsw") or {}
    return str(hnsw.get("space") or "l2")


def read_records(collection: Collection, ids: Sequence[str]) -> dict[str, Record]:
    """Give those records of the named ones that exist."""
    found: dict[str, Record] = {}
    # ChromaDB refuses a call that names an id twice.
    for batch in batches(list(dict.fromkeys(ids))):
        answer = collection.get(ids=batch, include=["embeddings", "documents", "metadatas"])
        columns = zip(
            answer["ids"],
            _column(answer["embeddings"]),
            _column(answer["documents"]),
            _column(answer["metadatas"]),
            strict=True,
        )
        for record_id, vector, document, metadata in columns:
            embedding = np.asarray(vector, dtype=np.float32)
            found[record_id] = Record(record_id, embedding, document, dict(metadata or {}))
    return found


def _column(values: Any) -> Any:  # noqa: ANN401 - ChromaDB's own types are unions of unions
    if values is None:
        raise ValueError("ChromaDB left out a column that was asked for")
    return values


def upsert_records(
    collection: Collection, records: Sequence[Record], stale: Mapping[str, Sequence[str]]
) -> None:
    """Write whole records.

    Args:
        collection: an open collection.
        records: what to write.
        stale: metadata keys by id that the record had and is to have no longer; ChromaDB
            keeps a key that is not named, and clears one that is named with None.
    """
    if not records:
        return
    metadatas = [{**r.metadata, **dict.fromkeys(stale.get(r.id, ()))} or None for r in records]
    documents = [r.document for r in records]
    collection.upsert(
        ids=[r.id for r in records],
        embeddings=np.stack([r.embedding for r in records]),
        documents=documents if any(d is not None for d in documents) else None,  # type: ignore[arg-type]
        metadatas=metadatas if any(metadatas) else None,  # type: ignore[arg-type]
    )


def update_metadata(collection: Collection, patches: Mapping[str, MetadataPatch]) -> None:
    """Set and clear metadata keys of records that exist."""
    if patches:
        collection.update(ids=list(patches), metadatas=[{**patch} for patch in patches.values()])  # type: ignore[dict-item]


def delete_records(collection: Collection, ids: Sequence[str]) -> None:
    """Remove records."""
    for batch in batches(ids):
        collection.delete(ids=batch)


def batches(ids: Sequence[str]) -> Iterator[list[str]]:
    """Cut ids into pieces that ChromaDB takes in one call."""
    for start in range(0, len(ids), BATCH_RECORDS):
        yield list(ids[start : start + BATCH_RECORDS])
