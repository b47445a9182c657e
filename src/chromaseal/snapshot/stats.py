"""What a collection takes and costs, from its manifests and a listing of its objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chromaseal.snapshot.layer_objects import RANGE_BYTES
from chromaseal.snapshot.manifest import LayerEntry, Manifest, PastVersion

# List prices of S3 Standard in us-east-1, in US dollars, November 2026.
PUT_USD = 0.005 / 1000
GET_USD = 0.0004 / 1000
GB_MONTH_USD = 0.023
_GB = 1e9


@dataclass(frozen=True, slots=True)
class LayerStats:
    """One layer of the newest version's chain."""

    layer_id: str
    kind: str
    first: int
    last: int
    size_bytes: int
    objects: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What a collection takes and costs.

    Attributes:
        collection: which one.
        versions: how many were ever made.
        records: in the newest version.
        directory_bytes: of the newest version.
        objects: how many there are.
        stored_bytes: of all objects.
        delta_bytes: of the deltas among them.
        written_bytes: of all layers that were ever written, folds and new bases included.
        layers: the chain of the newest version.
        cold_read_bytes: what a reader without any version fetches.
        packed_bytes: about what a new base would take.
        commit_puts: requests that the newest version took to store.
        cold_read_gets: requests that a cold read takes.
    """

    collection: str
    versions: int
    records: int
    directory_bytes: int
    objects: int
    stored_bytes: int
    delta_bytes: int
    written_bytes: int
    layers: tuple[LayerStats, ...]
    cold_read_bytes: int
    packed_bytes: int
    commit_puts: int
    cold_read_gets: int

    @property
    def read_amplification(self) -> float:
        """Give how much a cold read fetches for each byte that a new base would have."""
        return self.cold_read_bytes / max(self.packed_bytes, 1)

    @property
    def write_amplification(self) -> float | None:
        """Give how much was written for each byte of deltas; None without deltas."""
        return self.written_bytes / self.delta_bytes if self.delta_bytes else None

    @property
    def month_usd(self) -> float:
        """Give what storing all objects for a month costs at S3's list price."""
        return self.stored_bytes / _GB * GB_MONTH_USD

    @property
    def commit_usd(self) -> float:
        """Give what the requests of a commit like the newest one cost."""
        # The pointer and the head's manifest are read first.
        return self.commit_puts * PUT_USD + 2 * GET_USD

    @property
    def cold_read_usd(self) -> float:
        """Give what the requests of a cold read cost."""
        return self.cold_read_gets * GET_USD


def stats(
    manifest: Manifest, past: Sequence[PastVersion], objects: Mapping[str, int], delta_bytes: int
) -> Stats:
    """Work out a collection's figures.

    Args:
        manifest: of the newest version.
        past: every version, oldest first.
        objects: size by key of everything that the collection has.
        delta_bytes: of the deltas among them.
    """
    return Stats(
        collection=manifest.collection,
        versions=len(past),
        records=manifest.records.count,
        directory_bytes=manifest.size_bytes,
        objects=len(objects),
        stored_bytes=sum(objects.values()),
        delta_bytes=delta_bytes,
        written_bytes=sum(each.stored_bytes for each in past),
        layers=tuple(map(_layer, manifest.layers)),
        cold_read_bytes=manifest.chain_bytes,
        packed_bytes=manifest.packed_bytes,
        # The manifest and the pointer come on top of the layers' objects.
        commit_puts=2 + sum(len(layer.parts) for layer in manifest.written_here),
        cold_read_gets=2 + sum(map(_gets, manifest.layers)),
    )


def _layer(layer: LayerEntry) -> LayerStats:
    return LayerStats(
        layer.layer_id, layer.kind, layer.first, layer.last, layer.size_bytes, len(layer.parts)
    )


def _gets(layer: LayerEntry) -> int:
    return sum(1 + -(-part.tail_offset // RANGE_BYTES) for part in layer.parts)
