"""A stored delta -> what it changes, after every check that merging it asks for."""

from __future__ import annotations

from chromaseal.delta.admission import admit
from chromaseal.delta.codec import DeltaCodec
from chromaseal.delta.model import Delta, same_changes
from chromaseal.errors import Damaged
from chromaseal.object_store import ObjectStore
from chromaseal.pin import CollectionPin, check_pin
from chromaseal.run.model import Run


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
