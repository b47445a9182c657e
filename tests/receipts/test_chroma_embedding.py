"""ChromaDB's embedding functions by name, with a small one registered for the test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from chromadb import Documents, EmbeddingFunction, Embeddings
from chromadb.utils.embedding_functions import known_embedding_functions

from chromaseal.adapters.chroma.embedding import ChromaEmbedder
from chromaseal.errors import Damaged, Unsupported, UsageError
from chromaseal.testing.embedder_contract import EmbedderContract


class _Letters(EmbeddingFunction[Documents]):
    """Counts letters; ``size`` 0 stands for a function that cannot be built."""

    def __init__(self, size: int) -> None:
        if size == 0:
            raise ValueError("no size")
        self.size = size

    def __call__(self, input: Documents) -> Embeddings:  # noqa: A002 - ChromaDB's name
        counts = np.zeros((len(input), self.size), dtype=np.float32)
        for row, text in enumerate(input):
            for letter in text:
                counts[row, ord(letter) % self.size] += 1
        return list(counts)

    @staticmethod
    def name() -> str:
        return "letters"

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> _Letters:
        return _Letters(config["size"])

    def get_config(self) -> dict[str, Any]:
        return {"size": self.size}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(known_embedding_functions, "letters", _Letters)


class TestChromaEmbedder(EmbedderContract):
    """A function of the registry keeps the contract."""

    def embedder(self) -> ChromaEmbedder:
        """Build the small function through the registry."""
        return ChromaEmbedder("letters", {"size": 32})


def test_pin_tells_configurations_apart() -> None:
    """Name, configuration and dimension are in it."""
    small, large = ChromaEmbedder("letters", {"size": 8}), ChromaEmbedder("letters", {"size": 9})
    assert (small.pin.name, small.pin.dimension) == ("chromadb:letters", 8)
    assert small.pin != large.pin
    assert small.pin.digest != large.pin.digest


def test_an_unknown_name_is_a_usage_error() -> None:
    """The hint lists the names there are."""
    with pytest.raises(UsageError) as caught:
        ChromaEmbedder("nonsense", {})
    assert "letters" in caught.value.hint


def test_what_cannot_be_built_is_unsupported() -> None:
    """A missing package or key is said, with the function's own words."""
    with pytest.raises(Unsupported, match="no size"):
        ChromaEmbedder("letters", {"size": 0})


def test_vectors_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad number and nothing is stored."""
    monkeypatch.setattr(_Letters, "__call__", lambda _, input: [np.full(8, np.nan)] * len(input))  # noqa: A006
    with pytest.raises(Damaged):
        ChromaEmbedder("letters", {"size": 8}).embed(["x"])
