"""The job "write-on": an application that keeps writing a ChromaDB directory until it is killed.

It uses ChromaDB as any application does, and nothing of chromaseal but what it is to write.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import chromadb
import numpy as np
from chromadb.api.models.Collection import Collection
from chromadb.config import Settings

from chromaseal.clock import SystemClock
from chromaseal.reproduction.application import COLLECTION, Plan, batch_numbers, record_of
from chromaseal.sandbox import Plain, Progress

_FILL_RECORDS = 500
_LOOK_S = 0.005


def run(request: Plain, progress: Progress) -> Plain:
    """Write the first records, then batch after batch.

    Args:
        request: ``directory``, which is made; ``plan``, what to write; ``rest``, a path: no batch
            is begun while there is a file.
        progress: called with first records and their number, then with batches and 0.
    """
    plan = Plan(**request["plan"])
    clock, rest = SystemClock(), Path(request["rest"])
    client = chromadb.PersistentClient(
        Path(request["directory"]), settings=Settings(anonymized_telemetry=False)
    )
    collection = client.create_collection(
        COLLECTION,
        metadata={"hnsw:sync_threshold": plan.threshold, "hnsw:batch_size": plan.threshold},
        embedding_function=None,
    )
    first = batch_numbers(plan, 0)
    for start in range(0, len(first), _FILL_RECORDS):
        _upsert(collection, plan, first[start : start + _FILL_RECORDS], 0)
        progress(min(start + _FILL_RECORDS, len(first)), len(first))
    for batch in itertools.count(1):
        while rest.exists():
            clock.sleep(_LOOK_S)
        _upsert(collection, plan, batch_numbers(plan, batch), batch)
        progress(batch, 0)
        clock.sleep(plan.pause_s)
    return {}


def _upsert(collection: Collection, plan: Plan, numbers: Sequence[int], batch: int) -> None:
    records = [record_of(plan, number, batch) for number in numbers]
    collection.upsert(
        ids=[record.id for record in records],
        embeddings=np.stack([record.embedding for record in records]),
        documents=[record.document or "" for record in records],
        metadatas=[{**record.metadata} for record in records],  # type: ignore[dict-item]
    )
