"""Any embedding function that ChromaDB knows by name: texts -> its vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from chromadb.utils.embedding_functions import known_embedding_functions

from chromaseal.digests import blake3_hex
from chromaseal.embedding import ModelPin, Vectors
from chromaseal.errors import Damaged, Unavailable, Unsupported, UsageError

_PROBE_TEXT = "TOTAL"


class ChromaEmbedder:
    """A function of ChromaDB's registry as an embedder.

    ChromaDB stores such a function's name and configuration but no digest of the model behind
    it, so the pin can only tell configurations apart.

    Args:
        name: as in ChromaDB's registry, for example ``openai`` or ``default``.
        config: what the function's ``build_from_config`` takes; plain JSON values.

    Raises:
        UsageError: ChromaDB knows no function of that name.
        Unsupported: the function needs a package or key that is not here.
    """

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        known = known_embedding_functions.get(name)
        if known is None:
            raise UsageError(
                f"ChromaDB knows no embedding function named {name!r}.",
                kind="unknown-embedding-function",
                hint="known: " + ", ".join(sorted(known_embedding_functions)),
            )
        self._name = name
        self._config = dict(config)
        try:
            self._function = known.build_from_config(self._config)
        except (ValueError, ImportError) as error:
            raise Unsupported(
                f"ChromaDB's embedding function {name!r} cannot be built here: {error}",
                kind="embedding-function-unavailable",
                hint="install what it asks for, or correct its configuration",
            ) from error

    @cached_property
    def pin(self) -> ModelPin:
        """Name function, configuration and dimension; the last by embedding one text."""
        canonical = json.dumps(self._config, sort_keys=True, separators=(",", ":"))
        return ModelPin(
            name=f"chromadb:{self._name}",
            version="as ChromaDB builds it",
            digest=blake3_hex(canonical.encode()),
            dimension=self._vectors([_PROBE_TEXT]).shape[1],
        )

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts through ChromaDB's function.

        Args:
            texts: any number of texts.

        Returns:
            float32, shape (len(texts), dimension).

        Raises:
            Damaged: the function gave something other than one finite vector per text.
            Unavailable: ``embedding-function-failed``.
        """
        if not texts:
            return np.empty((0, self.pin.dimension), dtype=np.float32)
        return self._vectors(texts)

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        try:
            vectors = np.array(self._function(list(texts)), dtype=np.float32)
        # Whatever a function of somebody else raises: no network, no key, no quota.
        except Exception as error:
            raise Unavailable(
                f"ChromaDB's embedding function {self._name!r} failed: {error}",
                kind="embedding-function-failed",
                hint="look at its configuration, its key and the network, then run it again",
            ) from error
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():  # noqa: PLR2004 - one row per text
            raise Damaged(
                f"ChromaDB's embedding function {self._name!r} gave no usable vectors.",
                kind="unusable-vectors",
                hint="look at its configuration",
            )
        return vectors
