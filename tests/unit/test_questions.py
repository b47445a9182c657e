"""What ChromaDB does not find is damage only where links on disk lead to it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chromaseal.adapters.chroma import questions
from chromaseal.seal.anatomy import LogEntry, LogOperation

VECTORS = {f"r{n}": np.full(2, n, np.float32) for n in range(10)}


class Blind:
    """A collection that finds one record for whatever it is asked."""

    def query(self, query_embeddings: np.ndarray, **_: object) -> dict[str, Any]:
        """Give the distances to it."""
        distances = [[float(np.sum(each**2))] for each in query_embeddings]
        return {"ids": [["r0"]] * len(distances), "distances": distances}


class Leading:
    """Links that lead anywhere."""

    def __init__(self, _: Path) -> None:
        """Read nothing."""

    def lead(self, one: str, other: str) -> bool:
        """Whether they lead from one to another: always."""
        return one == "r0" and other in VECTORS


@pytest.mark.parametrize(("waiting", "passed"), [(False, False), (True, True)])
def test_links_on_disk_say_nothing_where_entries_are_pending(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, waiting: bool, passed: bool
) -> None:
    """ChromaDB makes other links for them in memory, and no longer goes by those."""
    monkeypatch.setattr(questions, "SegmentLinks", Leading)
    entry = LogEntry(99, LogOperation.UPSERT, "r1", VECTORS["r1"])
    anatomy: Any = SimpleNamespace(
        index=SimpleNamespace(count=len(VECTORS)),
        vector_segment="segment",
        flushed_seq_id=98 if waiting else 99,
        log=(entry,),
        row_ids=tuple(VECTORS),
        space="l2",
    )
    blind: Any = Blind()
    assert questions._known_vectors(blind, VECTORS, anatomy, tmp_path).passed is passed
