"""A record as every part of the engine knows it, its digest, and the cleaning of its text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

Scalar: TypeAlias = str | int | float | bool
MetadataValue: TypeAlias = Scalar | list[str] | list[int] | list[float] | list[bool]
Metadata: TypeAlias = Mapping[str, MetadataValue]
MetadataPatch: TypeAlias = Mapping[str, MetadataValue | None]

_CANONICAL = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One record of a collection.

    Attributes:
        id: unique within its collection.
        embedding: float32, shape (dimension,).
        document: the text, or None.
        metadata: plain values by key; no None values.
    """

    id: str
    embedding: NDArray[np.float32]
    document: str | None
    metadata: Metadata


def clean_text(text: str) -> str:
    """Make text safe to store: no NUL bytes, no lone surrogates.

    One NUL in one document breaks ChromaDB's full-text index for its whole collection, and a
    lone surrogate cannot be written as UTF-8 at all. NULs go; surrogates become U+FFFD.
    """
    if text.isascii() and "\x00" not in text:
        return text
    return _UNSTORABLE.sub(lambda found: "" if found.group() == "\x00" else "\ufffd", text)


def canonical_metadata(metadata: MetadataPatch) -> str:
    """Write metadata as the one JSON text that stands for it: sorted keys, no white space.

    Integers and floats stay apart (``1`` and ``1.0``); floats are written so that they read
    back exactly.

    Raises:
        ValueError: a float is not finite.
    """
    return _CANONICAL.encode(metadata)


def record_digest(record: Record, *, with_embedding: bool = True) -> bytes:
    """Digest a record: the same bytes for the same id, vector, document and metadata.

    Floats in metadata count to 12 significant digits: ChromaDB passes them through a JSON
    reader that can miss the last bit of those with more than 15.

    Args:
        record: the record.
        with_embedding: False where the stored vector is not the one that was written:
            ChromaDB normalises the vectors of a cosine collection.

    Returns:
        32 bytes of BLAKE3 over the parts, each preceded by its length (8 bytes, little
        endian): id, ``d`` + document or nothing, canonical metadata, float32 little endian.
    """
    document = b"" if record.document is None else b"d" + record.document.encode()
    vector = record.embedding.astype("<f4").tobytes() if with_embedding else b""
    metadata = {key: _rounded(value) for key, value in record.metadata.items()}
    parts = (record.id.encode(), document, canonical_metadata(metadata).encode(), vector)
    return blake3(b"".join(len(p).to_bytes(8, "little") + p for p in parts)).digest()


def _rounded(value: MetadataValue) -> MetadataValue:
    if isinstance(value, float):
        # Adding zero makes one zero of both.
        return float(f"{value:.12g}") + 0.0
    if isinstance(value, list):
        return [_rounded(item) for item in value]  # type: ignore[return-value] # one kind
    return value
