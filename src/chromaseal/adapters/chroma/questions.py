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
from chromaseal.adapters.chroma.inspector import inspect
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.anatomy import CollectionAnatomy
from chromaseal.seal.checks import TOO_LONG, distances_overflow, stored_vectors
from chromaseal.seal.verdict import Finding

_SAMPLE = 50
# An approximate index misses some of the vectors that it holds: of 200,000 random ones in 384
# dimensions a quarter, by the first answer. A wider search finds all that links lead to.
_WIDE = 1_000
_LEAST_FOUND_WIDELY = 0.8
# A query for everything gives what links lead to, which in a healthy index need not be all.
_LEAST_FOUND = 0.5
# Of the squared length of a vector: what single precision may leave of a distance of nothing.
_TOLERANCE = 1e-4


def run(request: Plain, progress: Progress) -> Plain:
    """Open a directory with ChromaDB and ask for everything that is in it.

    Args:
        request: ``directory``, a private copy whose structure is sound.
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
            for finding in _answers(collection, each):
                findings.append(finding.plain(time.perf_counter() - start))
                start = time.perf_counter()
    return {"findings": findings}


def _listed(client: Client, databases: set[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Give tenant, database and name of each collection, as ChromaDB lists them."""
    for tenant, database in databases or {(DEFAULT_TENANT, DEFAULT_DATABASE)}:
        client.set_tenant(tenant, database)
        for each in client.list_collections():
            yield tenant, database, each.name


def _answers(collection: Collection, anatomy: CollectionAnatomy) -> Iterator[Finding]:
    wanted = set(anatomy.row_ids)
    counted = collection.count()
    yield Finding("chromadb-counts", counted == len(wanted), f"{counted} of {len(wanted)}")
    got = set(_all_ids(collection))
    yield Finding("chromadb-gets", got == wanted, f"{len(got & wanted)} of {len(wanted)} records")
    if not wanted:
        return
    vectors = stored_vectors(anatomy, _sample(anatomy.row_ids))
    yield _known_vectors(collection, vectors, anatomy.space, len(wanted))
    answer = collection.query(
        query_embeddings=next(iter(vectors.values()))[None], n_results=len(wanted), include=[]
    )
    listed = len(set(answer["ids"][0]))
    enough, evidence = listed >= _LEAST_FOUND * len(wanted), f"{listed} of {len(wanted)} records"
    if not enough and distances_overflow(anatomy):
        enough, evidence = True, f"{evidence}, {TOO_LONG}"
    yield Finding("chromadb-finds-all", enough, evidence)


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
    collection: Collection, vectors: Mapping[str, NDArray[np.float32]], space: str, records: int
) -> Finding:
    """Ask for vectors that are there; those that a narrow search misses, once more widely."""
    matrix = np.stack(list(vectors.values()))
    at_once = _find_themselves(collection, matrix, space, 1)
    found = int(at_once.sum())
    if found < len(matrix):
        width = min(records, max(_WIDE, records // 20))
        found += int(_find_themselves(collection, matrix[~at_once], space, width).sum())
    recall = at_once.mean()
    return Finding(
        "chromadb-finds",
        found >= _LEAST_FOUND_WIDELY * len(matrix),
        f"{found} of {len(matrix)} vectors find themselves, recall at once {recall:.2f}",
    )


def _find_themselves(
    collection: Collection, matrix: NDArray[np.float32], space: str, width: int
) -> NDArray[np.bool_]:
    """Say which vectors' nearest neighbour is one that is the same."""
    answer = collection.query(query_embeddings=matrix, n_results=width, include=["distances"])
    nearest = np.array([d[0] if d else np.inf for d in answer["distances"] or []])
    squares = np.einsum("ij,ij->i", matrix, matrix)
    if space == "ip":
        # Another vector may lie further along the same way, so its product is greater.
        return np.asarray(nearest <= 1 - squares + _TOLERANCE * squares)
    if space == "cosine":
        return np.asarray(nearest <= np.where(squares > 0, _TOLERANCE, np.inf))
    return np.asarray(nearest <= _TOLERANCE * np.maximum(squares, 1))
