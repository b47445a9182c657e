"""A stored delta -> what it changes, after every check that merging it asks for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from chromaseal import keys
from chromaseal.delta.admission import admit
from chromaseal.delta.codec import DeltaCodec
from chromaseal.delta.model import Delta, same_changes
from chromaseal.errors import Damaged, NotFound, Unsupported
from chromaseal.object_store import ObjectStore
from chromaseal.pin import CollectionPin, check_pin
from chromaseal.run.model import Run
from chromaseal.snapshot.checkout import cannot_write, disk_full, is_full
from chromaseal.snapshot.manifest import MergedRun


def read_stored(store: ObjectStore, codec: DeltaCodec, key: str) -> tuple[Delta, bytes]:
    """Read a delta as it is stored, and its bytes.

    Raises:
        Damaged: it is not what its digest says.
        NotFound: it is missing.
        Unsupported: a newer release wrote it.
    """
    try:
        body = store.get(key).body
        return codec.decode(body), body
    except Damaged:
        # The object may be sound and this reading of it damaged.
        body = store.get(key).body
        return codec.decode(body), body


def read_delta(
    store: ObjectStore, codec: DeltaCodec, run: Run, pin: CollectionPin
) -> tuple[Delta, bytes]:
    """Read a run's delta for one collection.

    Args:
        store: the vault's objects.
        codec: how deltas are written.
        run: whose delta.
        pin: what the collection is pinned to.

    Returns:
        The delta, and its bytes; no bytes where the delta had to be put in order.

    Raises:
        Damaged: ``bad-delta``, or it is not what its digest says.
        NotFound: it is missing.
        RefusedInput: ChromaDB cannot keep what is in it.
        Conflict: it does not fit the collection.
    """
    stored, body = read_stored(store, codec, run.parts[pin.name].delta_key)
    header = stored.header
    # Whoever wrote it may not have been chromaseal: what ChromaDB cannot keep is refused
    # here, before it stops a whole batch.
    delta = admit(header, stored.upserts, stored.updates, stored.deletes)
    if (header.run_id, header.collection) != (run.run_id, pin.name):
        raise Damaged(
            f"the delta says that it is run {header.run_id} of {header.collection}",
            kind="bad-delta",
        )
    dimension = delta.upserts.embeddings.shape[1] if len(delta.upserts) else pin.dimension
    model = header.model if len(delta.upserts) else pin.model
    check_pin(pin, CollectionPin(pin.name, dimension, pin.space, model))
    return delta, body if same_changes(delta, stored) else b""


class DeltasAtHand:
    """The deltas that a version is made of, with their bytes as they are stored.

    Args:
        store: the vault's objects.
        codec: how deltas are written.
        collection: whose deltas.
    """

    def __init__(self, store: ObjectStore, codec: DeltaCodec, collection: str) -> None:
        self._store = store
        self._codec = codec
        self._collection = collection
        self._merged: dict[str, Delta] = {}
        self._bodies: dict[str, bytes] = {}

    def read(self, run: Run, pin: CollectionPin) -> Delta:
        """Read a waiting run's delta; see ``read_delta``."""
        delta, body = read_delta(self._store, self._codec, run, pin)
        if body:
            self._bodies[run.run_id] = body
        return delta

    def read_merged(self, run: MergedRun) -> Delta:
        """Read the delta of a merged run, which is to be applied once more after a late one.

        Raises:
            NotFound: ``too-late``.
        """
        if run.run_id not in self._merged:
            key = keys.delta(self._collection, run.run_id, self._codec.suffix)
            try:
                delta, self._bodies[run.run_id] = read_stored(self._store, self._codec, key)
                self._merged[run.run_id] = delta
            except (Damaged, NotFound, Unsupported) as error:
                raise NotFound(
                    f"the run came after {run.run_id}, which is later and whose delta cannot be "
                    f"read, so that their order cannot be restored: {error.message}",
                    kind="too-late",
                ) from error
        return self._merged[run.run_id]

    def stored_bytes(self, deltas: Iterable[Delta]) -> int:
        """Say what their files take."""
        return sum(len(self._bodies.get(delta.header.run_id, b"")) for delta in deltas)

    def store_locally(self, folder: Path, deltas: Iterable[Delta]) -> list[str]:
        """Write a file for each, for a child to read; give their paths.

        Raises:
            Conflict: ``cannot-write``.
            Unavailable: ``disk-full``.
        """
        paths = []
        for number, delta in enumerate(deltas):
            path = folder / f"delta-{number}{self._codec.suffix}"
            body = self._bodies.get(delta.header.run_id) or self._codec.encode(delta)
            try:
                path.write_bytes(body)
            except OSError as error:
                full = is_full(error)
                raise disk_full(str(error)) if full else cannot_write(path, error) from error
            paths.append(str(path))
        return paths
