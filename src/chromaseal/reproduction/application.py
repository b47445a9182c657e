"""What a writing application writes, and which of its states a copy has.

What each batch writes follows from its number and the seed alone, so that any copy of the
application's directory can be compared with all that was ever in it, without asking the code
that made the copy.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from chromaseal.record import Record
from chromaseal.sandbox import Plain

COLLECTION = "notes"
# A receipt has about as many lines.
BATCH_RECORDS = 60
NEW_RECORDS = 20
_DRAWN = 1 << 20
_STEP_BY_RECORD = 613
_STEP_BY_BATCH = 104_729


@dataclass(frozen=True, slots=True)
class Plan:
    """What an application writes.

    Attributes:
        records: before the first batch.
        seed: decides all contents.
        threshold: log entries after which ChromaDB flushes its index.
        dimension: numbers per vector.
        pause_s: between two batches.
    """

    records: int = 4_000
    seed: int = 1
    threshold: int = 60
    dimension: int = 384
    pause_s: float = 0.0

    def as_plain(self) -> Plain:
        """Give it as a child process takes it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class State:
    """How a copy's records compare with what the application had.

    Attributes:
        batch: the newest one that the copy has anything of.
        missing: records that were there after that batch and are not in the copy.
        others: records that are not as they were after that batch.
    """

    batch: int
    missing: int
    others: int

    @property
    def whole(self) -> bool:
        """Whether the application's records were exactly these at one time."""
        return not self.missing and not self.others


def batch_numbers(plan: Plan, batch: int) -> list[int]:
    """Give the records that a batch writes: some again, some new; batch 0 is the first ones."""
    if batch == 0:
        return list(range(plan.records))
    first = plan.records + (batch - 1) * NEW_RECORDS
    chance = np.random.default_rng([plan.seed, batch])
    rewritten = min(BATCH_RECORDS - NEW_RECORDS, first)
    again = chance.choice(first, rewritten, replace=False)
    return [*again.tolist(), *range(first, first + NEW_RECORDS)]


def vector_of(plan: Plan, number: int, batch: int) -> NDArray[np.float32]:
    """Give a record's vector as a batch writes it: of length one, as most models give them."""
    # A stretch of numbers that were drawn once: a copy has thousands of vectors to compare.
    start = (number * _STEP_BY_RECORD + batch * _STEP_BY_BATCH) % _DRAWN
    vector = _drawn(plan.seed, plan.dimension)[start : start + plan.dimension]
    return vector / np.float32(np.linalg.norm(vector))


@functools.cache
def _drawn(seed: int, dimension: int) -> NDArray[np.float32]:
    chance = np.random.default_rng(seed)
    return chance.standard_normal(_DRAWN + dimension, dtype=np.float32)


def record_id(number: int) -> str:
    """Give a record's id."""
    return f"r{number}"


def record_of(plan: Plan, number: int, batch: int) -> Record:
    """Give a record as a batch writes it."""
    name = record_id(number)
    document = f"record {name} as batch {batch} wrote it"
    return Record(name, vector_of(plan, number, batch), document, {"batch": batch, "place": number})


def contents_after(plan: Plan, batch: int) -> dict[str, int]:
    """Give, by record id, the batch that wrote it last."""
    contents: dict[str, int] = {}
    for each in range(batch + 1):
        contents |= dict.fromkeys(map(record_id, batch_numbers(plan, each)), each)
    return contents


def state_of(found: Mapping[str, int], plan: Plan) -> State:
    """Compare a copy's records with what the application had.

    Args:
        found: by record id, the batch that the record says it is of.
        plan: what the application wrote.
    """
    newest = max(found.values(), default=0)
    wanted = contents_after(plan, newest)
    missing = wanted.keys() - found.keys()
    others = [name for name, batch in found.items() if wanted.get(name) != batch]
    return State(newest, len(missing), len(others))
