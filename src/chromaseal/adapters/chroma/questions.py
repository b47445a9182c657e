"""The job "ask": what ChromaDB itself says of a directory, which is opened and so written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from chromadb.api.client import Client
from chromadb.api.models.Collection import Collection
from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT
from numpy.typing import NDArray

from chromaseal.adapters.chroma.client import opened
from chromaseal.adapters.chroma.collection import BATCH_RECORDS
from chromaseal.adapters.chroma.hnsw import SegmentLinks
from chromaseal.adapters.chroma.inspector import inspect
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.anatomy import CollectionAnatomy
from chromaseal.seal.checks import pending, stored_vectors
from chromaseal.seal.verdict import Finding

_SAMPLE = 50
# An approximate index misses some of the vectors that it holds: of 200,000 random ones in 384
# dimensions a quarter, by the first answer. A wider search finds all that links lead to.
_WIDE = 1_000
_LEAST_FOUND_WIDELY = 0.8
# A query for everything gives all that links lead to from where it begins, which is unknown: at
# least what they lead to from its first answer.
_LEAST_FOUND = 0.5
# Of the squared length of a vector: what single precision may leave of a distance of nothing.
_TOLERANCE = 1e-4


def run(request: Plain, progress: Progress) -> Plain:
    """Open a directory with ChromaDB and ask for everything that is in it.

    Args:
        request: ``directory``, a private copy whose structure is sound; ``original``, what it is
            a copy of.
        progress: called with asked and all collections.

    Returns:
        ``findings``, each ``check``, ``passed``, ``evidence``, ``duration_s``.
    """
    directory = Path(request["directory"])
    # Before ChromaDB opens it: two SQLite libraries in one process drop each other's locks.
    anatomy = inspect(directory, deep=False)
    findings: list[Plain] = []
    with opened(directory) as client:
        there = sorted((*each.database, each.name) for each in anatomy.collections)
        names = sorted(_listed(client, {each.database for each in anatomy.collections}))
        evidence = f"{len(names)} of {len(there)} collections"
        findings.append(Finding("chromadb-lists", names == there, evidence).plain(0.0))
        for done, each in enumerate(anatomy.collections):
            progress(done, len(there))
            start = time.perf_counter()
            client.set_tenant(*each.database)
            collection = client.get_collection(each.name, embedding_function=None)
            for finding in _answers(collection, each, Path(request["original"])):
                findings.append(finding.plain(time.perf_counter() - start))
                start = time.perf_counter()
    return {"findings": findings}


def _listed(client: Client, databases: set[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Give tenant, database and name of each collection, as ChromaDB lists them."""
    for tenant, database in databases or {(DEFAULT_TENANT, DEFAULT_DATABASE)}:
        client.set_tenant(tenant, database)
        for each in client.list_collections():
            yield tenant, database, each.name


def _links_on_disk(original: Path, anatomy: CollectionAnatomy) -> SegmentLinks | None:
    # For pending entries ChromaDB makes other links than those on disk.
    if anatomy.index is None or not anatomy.index.count or any(pending(anatomy)):
        return None
    return SegmentLinks(original / anatomy.vector_segment)


def _answers(
    collection: Collection, anatomy: CollectionAnatomy, original: Path
) -> Iterator[Finding]:
    wanted = set(anatomy.row_ids)
    counted = collection.count()
    yield Finding("chromadb-counts", counted == len(wanted), f"{counted} of {len(wanted)}")
    got = set(_all_ids(collection))
    yield Finding("chromadb-gets", got == wanted, f"{len(got & wanted)} of {len(wanted)} records")
    if not wanted:
        return
    vectors = stored_vectors(anatomy, _sample(anatomy.row_ids))
    yield _known_vectors(collection, vectors, anatomy, original)
    answer = collection.query(
        query_embeddings=next(iter(vectors.values()))[None], n_results=len(wanted), include=[]
    )
    yield _finds_all(answer["ids"][0], anatomy, original)


def _finds_all(found: list[str], anatomy: CollectionAnatomy, original: Path) -> Finding:
    listed, records = len(set(found)), len(anatomy.row_ids)
    evidence = f"{listed} of {records} records"
    enough = listed >= _LEAST_FOUND * records
    if not enough and found:
        links = _links_on_disk(original, anatomy)
        led = links.count_from(found[0]) if links else 0
        enough = listed >= _LEAST_FOUND * led
        evidence += f", links lead to {led}" if links else ", by links that are not on disk"
    return Finding("chromadb-finds-all", enough, evidence)


def _all_ids(collection: Collection) -> Iterator[str]:
    """Read everything, page by page: an unpaged read of many records fails."""
    offset = 0
    while True:
        answer = collection.get(
            limit=BATCH_RECORDS, offset=offset, include=["documents", "metadatas"]
        )
        yield from answer["ids"]
        if len(answer["ids"]) < BATCH_RECORDS:
            return
        offset += BATCH_RECORDS


def _sample(ids: tuple[str, ...]) -> list[str]:
    """Take ids from the whole length of the table."""
    step = max(len(ids) // _SAMPLE, 1)
    return list(ids[::step][:_SAMPLE])


def _known_vectors(
    collection: Collection,
    vectors: Mapping[str, NDArray[np.float32]],
    anatomy: CollectionAnatomy,
    original: Path,
) -> Finding:
    """Ask for vectors that are there; those that a narrow search misses, once more widely."""
    ids, matrix, space = [*vectors], np.stack(list(vectors.values())), anatomy.space
    found, nearest = _find_themselves(collection, matrix, space, 1)
    recall = found.mean()
    if not found.all():
        records = len(anatomy.row_ids)
        width = min(records, max(_WIDE, records // 20))
        again = np.flatnonzero(~found)
        found[again], others = _find_themselves(collection, matrix[again], space, width)
        nearest = {**nearest, **dict(zip(again.tolist(), others.values(), strict=True))}
    evidence = f"{found.sum()} of {len(ids)} vectors find themselves, recall at once {recall:.2f}"
    enough = found.sum() >= _LEAST_FOUND_WIDELY * len(ids)
    if not enough and found.any():
        links = _links_on_disk(original, anatomy)
        missed = np.flatnonzero(~found).tolist()
        led = sum(links is not None and links.lead(nearest[at], ids[at]) for at in missed)
        enough = found.sum() >= _LEAST_FOUND_WIDELY * (found.sum() + led)
        told = f"links lead to {led} of the others" if links else "by links that are not on disk"
        evidence += f", {told}"
    return Finding("chromadb-finds", bool(enough), evidence)


def _find_themselves(
    collection: Collection, matrix: NDArray[np.float32], space: str, width: int
) -> tuple[NDArray[np.bool_], dict[int, str]]:
    """Say which vectors' nearest neighbour is the same, and whose that is, by place."""
    answer = collection.query(query_embeddings=matrix, n_results=width, include=["distances"])
    nearest = np.array([d[0] if d else np.inf for d in answer["distances"] or []])
    names = {place: ids[0] if ids else "" for place, ids in enumerate(answer["ids"])}
    with np.errstate(over="ignore", invalid="ignore"):
        return _are_the_same(matrix, nearest, space), names


def _are_the_same(
    matrix: NDArray[np.float32], distances: NDArray[np.float64], space: str
) -> NDArray[np.bool_]:
    squares = np.einsum("ij,ij->i", matrix, matrix)
    if space == "ip":
        # Another vector may lie further along the same way, so its product is greater. Of very long
        # vectors the product is too large for single precision, and says nothing.
        return ~np.asarray(distances > 1 - squares + _TOLERANCE * squares)
    if space == "cosine":
        # Single precision has no direction of what is too short or too long.
        has_length = (squares > 0) & np.isfinite(squares)
        return np.asarray(distances <= np.where(has_length, _TOLERANCE, np.inf))
    return np.asarray(distances <= _TOLERANCE * np.maximum(squares, 1))
