"""What can be read of a damaged directory and belongs to no collection -> what is told of it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chromaseal.repair.judged import DOCUMENT, METADATA
from chromaseal.repair.remains import IndexRemains, Remains

_OF_NOBODY = "record of no collection"


def leftovers(
    remains: Remains, owned: Container[int], used: Container[str]
) -> Iterator[Mapping[str, Any]]:
    """Give what is nobody's, each with what it is.

    Args:
        remains: all that can be read.
        owned: the rows that collections have.
        used: the folders of the indexes that collections have.
    """
    for orphan in remains.orphans:
        yield {"what": "a value of no record", **{k: str(v) for k, v in orphan.items()}}
    if not remains.tables_whole and not remains.problem:
        yield {"what": "rows of chroma.sqlite3 that cannot be read"}
    yield from _of_no_collection(remains, owned, used)


def _of_no_collection(
    remains: Remains, owned: Container[int], used: Container[str]
) -> Iterator[Mapping[str, Any]]:
    """Give the rows that no collection has, and the indexes that may be theirs."""
    rows = [row for row in remains.rows if row.row_id not in owned]
    if not rows and remains.tables_whole:
        # Deleted collections leave their indexes behind.
        return
    claimed = {each.segment_id for each in remains.segments}
    free = [index for folder, index in remains.indexes.items() if folder not in claimed]
    for row in rows:
        vectors = [index.vector(row.record_id) for index in free]
        found = [vector for vector in vectors if vector is not None]
        yield {
            "what": _OF_NOBODY,
            "id": row.record_id,
            "segment": row.segment_id,
            "vector": _plain(found[0]) if len(found) == 1 else None,
            "document": row.document,
            "metadata": dict(row.metadata),
        }
    for index in free:
        if index.names and (rows or index.folder not in used):
            yield {"what": "index of no collection", "folder": index.folder}
        if index.folder not in used and not remains.tables_whole:
            yield from _without_rows(index, {row.record_id for row in rows})


def _without_rows(index: IndexRemains, listed: Container[str]) -> Iterator[Mapping[str, Any]]:
    """Give the records that only an index of no collection still names."""
    for record_id in index.names:
        if record_id not in listed:
            yield {
                "what": _OF_NOBODY,
                "id": record_id,
                "folder": index.folder,
                "lost": dict.fromkeys([DOCUMENT, METADATA], "its row cannot be read"),
                "vector": _plain(index.vector(record_id)),
            }


def _plain(vector: NDArray[np.float32] | None) -> list[float] | None:
    return None if vector is None else [float(number) for number in vector]
