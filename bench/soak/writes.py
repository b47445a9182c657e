"""Seed, writer and number -> the changes of one run, the same for whoever asks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chromaseal.delta.model import Changes
from chromaseal.record import MetadataPatch, Record

COLLECTIONS = ("lines", "words")
DIMENSION = 16
_FRESH = 3
_SHARED = 24
# How far back a writer changes what it wrote; fewer than a run has fresh ids for each.
_RECENT = 40
_PICKED = 4


def run_id(writer: int, number: int) -> str:
    """Name a writer's run."""
    return f"w{writer}-{number:06d}"


def changes_of(seed: int, writer: int, number: int) -> dict[str, Changes]:
    """Give what a run changes, by collection: its own ids, and some that all writers change.

    Args:
        seed: of the whole soak.
        writer: which one, from 0.
        number: of the writer's run, from 0.
    """
    chance = np.random.default_rng((seed, writer, number))
    # Every fourth run is one of both collections.
    names = (*((name,) for name in COLLECTIONS), COLLECTIONS, COLLECTIONS[:1])[chance.integers(4)]
    return {name: _changes(chance, writer, number) for name in names}


def _changes(chance: np.random.Generator, writer: int, number: int) -> Changes:
    fresh = [f"{run_id(writer, number)}-{each}" for each in range(_FRESH)]
    earlier = [
        f"{run_id(writer, each)}-{each % _FRESH}"
        for each in range(max(0, number - _RECENT), number)
    ]
    shared = [f"shared-{each:02d}" for each in range(_SHARED)]
    upserts, updates, deletes = fresh, [], []
    for ids in (_some(chance, earlier), _some(chance, shared)):
        upserts = [*upserts, *ids[:2]]
        updates += ids[2:3]
        # Half as often as anything is put back, so that most of it stays.
        deletes += ids[3:] if chance.random() < 0.5 else []
    return Changes(
        upserts=[_record(chance, each, writer, number) for each in upserts],
        updates={each: _patch(chance, writer, number) for each in updates},
        deletes=deletes,
    )


def _some(chance: np.random.Generator, ids: Sequence[str]) -> list[str]:
    places = chance.permutation(len(ids))[:_PICKED]
    return [ids[place] for place in places]


def _record(chance: np.random.Generator, record_id: str, writer: int, number: int) -> Record:
    return Record(
        record_id,
        chance.random(DIMENSION, dtype=np.float32) - np.float32(0.5),
        f"{record_id} as writer {writer} wrote it in its run {number}",
        {"writer": writer, "number": number, "share": _share(chance), "marked": False},
    )


def _patch(chance: np.random.Generator, writer: int, number: int) -> MetadataPatch:
    return {
        "marked": True,
        f"mark-{chance.integers(3)}": f"{writer}/{number}",
        # Cleared where it is there.
        "share": None if chance.random() < 0.5 else _share(chance),
    }


def _share(chance: np.random.Generator) -> float:
    # Six digits: ChromaDB may miss the last bit of a longer one, and vectors are what is compared.
    return round(float(chance.random()), 6)
