"""A delta as a Parquet file: one row per change, its header in the file's metadata.

The format is described in ``docs/formats/delta.md``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from arro3.core import (
    Array,
    ChunkedArray,
    DataType,
    Field,
    Schema,
    Table,
    fixed_size_list_array,
    list_flatten,
)
from arro3.io import read_parquet, write_parquet
from numpy.typing import NDArray

from chromaseal.delta.model import Delta, DeltaHeader, Upserts
from chromaseal.digests import blake3_hex
from chromaseal.embedding import ModelPin
from chromaseal.errors import Damaged, Unsupported
from chromaseal.record import canonical_metadata

FORMAT = "chromaseal.delta"
FORMAT_VERSION = 1
_HEADER_KEY = "chromaseal"
_VECTOR_COLUMN = ("embedding", "list", "element")
_DIGEST_MARK = b'"file_digest":"'
_NO_DIGEST = b"0" * 64
_UPSERT, _UPDATE, _DELETE = "upsert", "update", "delete"


class ParquetDeltaCodec:
    """Deltas as Parquet, compressed with zstd, with a digest over the whole file.

    The digest is checked before the Parquet reader sees a byte: readers of binary formats are
    not at their best with damaged ones.
    """

    @property
    def suffix(self) -> str:
        """Say how object keys of this format end."""
        return ".parquet"

    def encode(self, delta: Delta) -> bytes:
        """Write a delta."""
        out = io.BytesIO()
        header = json.dumps(_header(delta), sort_keys=True, separators=(",", ":"))
        # Vectors never repeat, so a dictionary only adds to them; split into streams of equal
        # bytes (sign and exponent apart from the mantissa) they compress a little.
        write_parquet(
            _table(delta),
            out,
            compression="zstd(3)",
            column_dictionary_enabled={_VECTOR_COLUMN: False},
            column_encoding={_VECTOR_COLUMN: "byte_stream_split"},
            key_value_metadata={_HEADER_KEY: header},
        )
        return _with_digest(out.getvalue())

    def decode(self, body: bytes) -> Delta:
        """Read a delta and check it against the digest that it carries."""
        _check_digest(body)
        try:
            table = read_parquet(io.BytesIO(body)).read_all()
            raw = json.loads(table.schema.metadata[_HEADER_KEY.encode()])
        # arro3 raises plain Exception for whatever is no Parquet.
        except Exception as error:
            raise Damaged(f"a delta cannot be read: {error}", kind="bad-delta") from error
        try:
            _check_format(raw)
            return _delta(raw, table)
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(f"a delta lacks a part: {error!r}", kind="bad-delta") from error


def _with_digest(body: bytes) -> bytes:
    start = body.rindex(_DIGEST_MARK) + len(_DIGEST_MARK)
    return body[:start] + blake3_hex(body).encode() + body[start + len(_NO_DIGEST) :]


def _check_digest(body: bytes) -> None:
    start = body.rfind(_DIGEST_MARK) + len(_DIGEST_MARK)
    end = start + len(_NO_DIGEST)
    blank = body[:start] + _NO_DIGEST + body[end:]
    if start < len(_DIGEST_MARK) or blake3_hex(blank).encode() != body[start:end]:
        raise Damaged(
            "a delta does not match the digest that it carries",
            kind="bad-delta",
            hint="have its writer write the run again",
        )


def _table(delta: Delta) -> Table:
    upserts = len(delta.upserts)
    rest = len(delta) - upserts
    dimension = delta.upserts.embeddings.shape[1]
    operations = [_UPSERT] * upserts + [_UPDATE] * len(delta.updates)
    operations += [_DELETE] * len(delta.deletes)
    metadatas = [canonical_metadata(m) for m in delta.upserts.metadatas]
    metadatas += [canonical_metadata(m) for m in delta.updates.values()]
    columns = {
        "operation": _texts(operations),
        "id": _texts((*delta.upserts.ids, *delta.updates, *delta.deletes)),
        "document": _texts((*delta.upserts.documents, *[None] * rest)),
        "metadata": _texts((*metadatas, *[None] * len(delta.deletes))),
    }
    if dimension:
        zeros = np.zeros((rest, dimension), dtype=np.float32)
        columns["embedding"] = _vectors(np.concatenate([delta.upserts.embeddings, zeros]))
    schema = Schema([Field(name, c.type, nullable=True) for name, c in columns.items()])
    return Table.from_arrays(list(columns.values()), schema=schema)


def _header(delta: Delta) -> dict[str, Any]:
    header = delta.header
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "run_id": header.run_id,
        "collection": header.collection,
        "created_at": header.created_at,
        "model": header.model.as_json() if header.model else None,
        "attributes": dict(header.attributes),
        "collections": list(header.collections),
        "file_digest": _NO_DIGEST.decode(),
    }


def _texts(values: Iterable[str | None]) -> Array:
    return Array(list(values), type=DataType.string())


def _vectors(vectors: NDArray[np.float32]) -> Array:
    element = Field("element", DataType.float32(), nullable=False)
    return fixed_size_list_array(
        Array.from_numpy(vectors.reshape(-1)),
        vectors.shape[1],
        type=DataType.list(element, vectors.shape[1]),
    )


def _check_format(raw: dict[str, Any]) -> None:
    if raw["format"] != FORMAT:
        raise Damaged(f"this is no delta but {raw['format']!r}", kind="bad-delta")
    if raw["format_version"] > FORMAT_VERSION:
        raise Unsupported(
            f"a delta is in format {raw['format_version']}, this release reads {FORMAT_VERSION}",
            kind="newer-delta",
            hint="upgrade chromaseal on this machine",
        )


def _delta(raw: dict[str, Any], table: Table) -> Delta:
    operations = _column(table, "operation")
    ids, metadatas = _column(table, "id"), _column(table, "metadata")
    upserts, updates = operations.count(_UPSERT), operations.count(_UPDATE)
    model = raw["model"]
    header = DeltaHeader(
        run_id=raw["run_id"],
        collection=raw["collection"],
        created_at=raw["created_at"],
        model=ModelPin(**model) if model else None,
        attributes=raw["attributes"],
        collections=tuple(raw.get("collections", ())),
    )
    return Delta(
        header=header,
        upserts=Upserts(
            ids=tuple(ids[:upserts]),
            embeddings=_embeddings(table)[:upserts],
            documents=tuple(_column(table, "document")[:upserts]),
            metadatas=tuple(json.loads(m) for m in metadatas[:upserts]),
        ),
        updates={
            i: json.loads(m)
            for i, m in _between(ids, metadatas, start=upserts, end=upserts + updates)
        },
        deletes=tuple(ids[upserts + updates :]),
    )


def _column(table: Table, name: str) -> list[Any]:
    return list(ChunkedArray.from_arrow(table[name]).to_pylist())


def _between(
    ids: list[str], metadatas: list[str], *, start: int, end: int
) -> Iterator[tuple[str, str]]:
    return zip(ids[start:end], metadatas[start:end], strict=True)


def _embeddings(table: Table) -> NDArray[np.float32]:
    if "embedding" not in table.column_names:
        return np.zeros((table.num_rows, 0), dtype=np.float32)
    column = ChunkedArray.from_arrow(table["embedding"])
    size = column.type.list_size or 0
    chunks = [np.asarray(_flat(c), dtype=np.float32).reshape(-1, size) for c in column.chunks]
    return np.concatenate(chunks)


def _flat(chunk: Array) -> NDArray[np.float32]:
    return np.asarray(list_flatten(chunk).to_numpy())
