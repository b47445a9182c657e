"""How deltas are written in a simulation: as the product does, or cheaper, and read only once."""

from __future__ import annotations

import json

import numpy as np

from chromaseal.delta.codec import DeltaCodec
from chromaseal.delta.model import Delta, DeltaHeader, Upserts
from chromaseal.embedding import ModelPin


class RememberingCodec:
    """Another codec that reads the same bytes only once: deltas are read again and again.

    Args:
        inner: reads and writes.
    """

    def __init__(self, inner: DeltaCodec) -> None:
        self._inner = inner
        self._deltas: dict[bytes, Delta] = {}

    @property
    def suffix(self) -> str:
        """Say how object keys of this format end."""
        return self._inner.suffix

    def encode(self, delta: Delta) -> bytes:
        """Write a delta."""
        return self._inner.encode(delta)

    def decode(self, body: bytes) -> Delta:
        """Read a delta."""
        if body not in self._deltas:
            self._deltas[body] = self._inner.decode(body)
        return self._deltas[body]


class JsonCodec:
    """Deltas as JSON, for most episodes: Parquet takes a fifth of the time of an episode.

    It has no digest: nothing is damaged in a simulation.
    """

    @property
    def suffix(self) -> str:
        """Say how object keys of this format end."""
        return ".json"

    def encode(self, delta: Delta) -> bytes:
        """Write a delta."""
        upserts = delta.upserts
        plain = {
            "run_id": delta.header.run_id,
            "collection": delta.header.collection,
            "created_at": delta.header.created_at,
            "model": delta.header.model and delta.header.model.as_json(),
            "attributes": dict(delta.header.attributes),
            "collections": delta.header.collections,
            "ids": upserts.ids,
            "shape": upserts.embeddings.shape,
            "embeddings": upserts.embeddings.ravel().tolist(),
            "documents": upserts.documents,
            "metadatas": upserts.metadatas,
            "updates": dict(delta.updates),
            "deletes": delta.deletes,
        }
        return json.dumps(plain, ensure_ascii=False).encode()

    def decode(self, body: bytes) -> Delta:
        """Read a delta."""
        plain = json.loads(body)
        vectors = np.array(plain["embeddings"], dtype=np.float32)
        header = DeltaHeader(
            run_id=plain["run_id"],
            collection=plain["collection"],
            created_at=plain["created_at"],
            model=ModelPin(**plain["model"]) if plain["model"] else None,
            attributes=plain["attributes"],
            collections=tuple(plain["collections"]),
        )
        upserts = Upserts(
            ids=tuple(plain["ids"]),
            embeddings=vectors.reshape(plain["shape"]),
            documents=tuple(plain["documents"]),
            metadatas=tuple(plain["metadatas"]),
        )
        return Delta(
            header=header,
            upserts=upserts,
            updates=plain["updates"],
            deletes=tuple(plain["deletes"]),
        )
