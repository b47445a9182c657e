"""What a damaged directory can be made again from, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chromaseal.record import MetadataValue
from chromaseal.repair.remains import CollectionRemains

VECTOR, DOCUMENT, METADATA = "vector", "document", "metadata"


@dataclass(frozen=True, slots=True)
class JudgedRecord:
    """One record.

    Attributes:
        record_id: of the record.
        vector: None if it is lost.
        document: the text.
        metadata: the values.
        lost: parts that are lost, with the reason.
        doubtful: parts that are there but may be of another moment, with the reason.
        from_log: keys whose values are the log's, which ChromaDB reads once more.
    """

    record_id: str
    vector: NDArray[np.float32] | None
    document: str | None
    metadata: Mapping[str, MetadataValue]
    lost: Mapping[str, str]
    doubtful: Mapping[str, str]
    from_log: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class JudgedCollection:
    """One collection.

    Attributes:
        remains: what is left of its row; the name is made up where that is lost.
        dimension: numbers per vector; None if no vector is left.
        records: all that are known of.
        lost: what is lost of the collection itself, with the reason.
        sources: what its records are made from.
        count: how many records there are once all that can be believed is put together.
    """

    remains: CollectionRemains
    dimension: int | None
    records: list[JudgedRecord]
    lost: Mapping[str, str]
    sources: tuple[str, ...]
    count: int

    @property
    def whole(self) -> list[JudgedRecord]:
        """Give the records of which no part is lost."""
        return [record for record in self.records if not record.lost]

    @property
    def harmed(self) -> list[JudgedRecord]:
        """Give the records of which a part is lost or doubtful."""
        return [record for record in self.records if record.lost or record.doubtful]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a directory can be made again from.

    Attributes:
        collections: each.
        from_log: whether the log has everything that ever happened; then it is all that is needed.
        leftovers: what is there and belongs to nobody.
        problem: why nothing can be read; empty if something can.
    """

    collections: list[JudgedCollection]
    from_log: bool
    leftovers: list[Mapping[str, Any]] = field(default_factory=list)
    problem: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is lost and nothing in doubt."""
        nothing_lost = not any(each.lost or each.harmed for each in self.collections)
        return bool(self.collections) and nothing_lost and not self.leftovers and not self.problem
