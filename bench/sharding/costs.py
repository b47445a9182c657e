"""What a sharded collection costs, from what was measured of a single one: ``bench.sharding``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

# bench/results/latency.md, batch.md and verify.md: 200,000 records of 384 dimensions.
_BYTES_PER_RECORD: Final = 703e6 / 200_000
_INDEX_BYTES_PER_RECORD: Final = 353e6 / 200_000
_BUILT_PER_S: Final = 342.0
# A query of one collection of 50,000; HNSW visits about as many more as the logarithm grows.
_QUERY_S: Final = 1.6e-3
_QUERY_RECORDS: Final = 50_000
# A shard that builds in about half an hour, and whose index is in the memory of a small function.
MOST_RECORDS: Final = 1_000_000
RECORDS_PER_RECEIPT: Final = 150
# So far, in standard deviations, the largest of some hundred shards is from the mean.
_LARGEST_SIGMAS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a collection of a size costs.

    Attributes:
        records: of the whole.
        shards: a power of two.
        largest_records: that are to be expected in the largest shard.
        shard_bytes: of a shard's directory.
        index_bytes: of its index, in the memory of whoever asks it.
        query_cpu_s: of one query, over all shards.
        query_s: of one query where every shard is asked at once.
        split_s: of building both halves of a full shard.
    """

    records: int
    shards: int
    largest_records: float
    shard_bytes: float
    index_bytes: float
    query_cpu_s: float
    query_s: float
    split_s: float


def at_size(records: int) -> Cost:
    """Work out the cost of a collection."""
    shards = 2 ** max(math.ceil(math.log2(records / MOST_RECORDS)), 0)
    each = records / shards
    receipts = each / RECORDS_PER_RECEIPT
    # Receipts fall into shards by chance, so their number in one is nearly Poisson's.
    largest = each * (1 + _LARGEST_SIGMAS / math.sqrt(receipts)) if shards > 1 else each
    query_s = _QUERY_S * math.log(max(each, 2)) / math.log(_QUERY_RECORDS)
    return Cost(
        records=records,
        shards=shards,
        largest_records=largest,
        shard_bytes=each * _BYTES_PER_RECORD,
        index_bytes=each * _INDEX_BYTES_PER_RECORD,
        query_cpu_s=query_s * shards,
        query_s=query_s,
        split_s=MOST_RECORDS / _BUILT_PER_S,
    )
