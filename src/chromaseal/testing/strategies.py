"""Hypothesis strategies for everything that a delta may hold.

Needs the ``hypothesis`` package, which is not among chromaseal's own dependencies.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from chromaseal.clock import to_iso
from chromaseal.delta.admission import admit
from chromaseal.delta.model import Changes, Delta, DeltaHeader, upserts_of
from chromaseal.record import MetadataPatch, MetadataValue, Record
from chromaseal.testing.clock import START
from chromaseal.testing.records import DIMENSION

texts = st.text(max_size=12)
keys = st.text(min_size=1, max_size=4).filter(
    lambda key: not key.startswith(("chroma:", "#", "$")) and "\x00" not in key
)
keys = keys.filter(lambda key: all(not "\ud800" <= letter <= "\udfff" for letter in key))
integers = st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1)
floats = st.floats(allow_nan=False, allow_infinity=False).map(lambda x: float(f"{x:.15g}"))
_scalars: tuple[st.SearchStrategy[MetadataValue], ...] = (
    texts,
    integers,
    floats.filter(np.isfinite),
    st.booleans(),
)


def _lists(items: st.SearchStrategy[MetadataValue]) -> st.SearchStrategy[MetadataValue]:
    return st.lists(items, min_size=1, max_size=3)  # type: ignore[return-value] # one kind


metadata_values: st.SearchStrategy[MetadataValue] = st.one_of(*_scalars, *map(_lists, _scalars))
metadata = st.dictionaries(keys, metadata_values, max_size=3)
patches: st.SearchStrategy[MetadataPatch] = st.dictionaries(
    keys, st.one_of(st.none(), metadata_values), max_size=3
)
vectors = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    min_size=DIMENSION,
    max_size=DIMENSION,
).map(lambda numbers: np.array(numbers, dtype=np.float32))


def records(record_id: str) -> st.SearchStrategy[Record]:
    """Give records of one id."""
    return st.builds(Record, st.just(record_id), vectors, st.none() | texts, metadata)


@st.composite
def changes(draw: st.DrawFn, ids: Sequence[str]) -> Changes:
    """Give changes of some of these ids, each of them in one of the three ways."""
    chosen = draw(st.lists(st.sampled_from(ids), unique=True, min_size=1, max_size=4))
    ways = draw(st.lists(st.sampled_from("urd"), min_size=len(chosen), max_size=len(chosen)))
    ways_by_id = dict(zip(chosen, ways, strict=True))
    return Changes(
        upserts=[draw(records(i)) for i, way in ways_by_id.items() if way == "r"],
        updates={i: draw(patches) for i, way in ways_by_id.items() if way == "u"},
        deletes=[i for i, way in ways_by_id.items() if way == "d"],
    )


@st.composite
def deltas(draw: st.DrawFn, ids: Sequence[str] = tuple("abcde")) -> Delta:
    """Give one run's delta as it comes out of admission, of a random age."""
    created_at = START + dt.timedelta(seconds=draw(st.integers(0, 5)))
    run_id = f"run-{draw(st.integers(0, 10**9)):09d}"
    header = DeltaHeader(
        run_id,
        "notes",
        to_iso(created_at),
        None,
        draw(st.dictionaries(st.sampled_from(["image_id", "source"]), texts, max_size=2)),
        draw(st.sampled_from([(), ("notes",), ("lines", "notes")])),
    )
    change = draw(changes(ids))
    return admit(header, upserts_of(change.upserts), change.updates, change.deletes)


histories = st.lists(deltas(), min_size=1, max_size=6, unique_by=lambda delta: delta.header.run_id)
