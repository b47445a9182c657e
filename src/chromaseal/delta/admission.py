"""Changes as a caller gives them -> changes that every later step can take as they are.

What is refused here costs its writer an error; refused later it would stop a whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from chromaseal.delta.model import Delta, DeltaHeader, Upserts
from chromaseal.errors import RefusedInput
from chromaseal.record import MetadataPatch, MetadataValue, clean_text

# ChromaDB refuses a whole call for one key that begins like its own names.
_RESERVED_PREFIXES = ("chroma:", "#", "$")
_INT64 = 1 << 63


def admit(
    header: DeltaHeader,
    upserts: Upserts,
    updates: Mapping[str, MetadataPatch],
    deletes: Iterable[str],
) -> Delta:
    """Check and clean the changes of one run.

    Text loses NUL bytes and lone surrogates; floats in metadata keep 15 significant digits.

    Raises:
        RefusedInput: ``empty-delta``, ``bad-id``, ``repeated-id``, ``bad-vector``,
            ``bad-metadata`` or ``wrong-dimension``.
    """
    delta = Delta(
        header, _clean_upserts(upserts), _clean_updates(updates), tuple(dict.fromkeys(deletes))
    )
    if not len(delta):
        raise RefusedInput("the run changes nothing", kind="empty-delta")
    _check_ids(delta)
    _check_vectors(delta)
    return delta


def _clean_upserts(upserts: Upserts) -> Upserts:
    rows = {len(upserts.ids), len(upserts.documents), len(upserts.metadatas)}
    if rows != {len(upserts.embeddings)}:
        raise RefusedInput(
            "ids, embeddings, documents and metadatas differ in number", kind="bad-vector"
        )
    pairs = zip(upserts.ids, upserts.metadatas, strict=True)
    return Upserts(
        ids=upserts.ids,
        embeddings=np.ascontiguousarray(upserts.embeddings, dtype=np.float32),
        documents=tuple(None if d is None else clean_text(d) for d in upserts.documents),
        metadatas=tuple(_clean_metadata(i, m) for i, m in pairs),
    )


def _clean_updates(updates: Mapping[str, MetadataPatch]) -> dict[str, MetadataPatch]:
    cleaned: dict[str, MetadataPatch] = {}
    for record_id, patch in updates.items():
        kept = {k: v for k, v in patch.items() if v is not None}
        cleared = dict.fromkeys(_key(record_id, k) for k, v in patch.items() if v is None)
        cleaned[record_id] = {**_clean_metadata(record_id, kept), **cleared}
    return cleaned


def _clean_metadata(record_id: str, metadata: MetadataPatch) -> dict[str, MetadataValue]:
    return {_key(record_id, k): _value(record_id, k, v) for k, v in metadata.items()}


def _key(record_id: str, key: object) -> str:
    if not isinstance(key, str) or not key or key.startswith(_RESERVED_PREFIXES):
        raise _bad_metadata(record_id, f"the key {key!r}")
    if key != clean_text(key):
        raise _bad_metadata(record_id, f"the key {key!r}")
    return key


def _value(record_id: str, key: str, value: object) -> MetadataValue:
    if isinstance(value, list):
        return _list_value(record_id, key, value)
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        # ChromaDB keeps 15 significant digits exactly, and of more it may miss the last bit.
        rounded = float(f"{value:.15g}")
        return rounded if math.isfinite(rounded) else value
    raise _bad_metadata(record_id, f"{key} = {value!r}")


def _list_value(record_id: str, key: str, values: list[object]) -> MetadataValue:
    kinds = {type(v) for v in values}
    if len(kinds) != 1 or kinds == {list}:
        raise _bad_metadata(record_id, f"{key} = {values!r}")
    return [_value(record_id, key, v) for v in values]  # type: ignore[return-value] # one kind


def _bad_metadata(record_id: str, what: str) -> RefusedInput:
    return RefusedInput(
        f"ChromaDB cannot keep {what} as metadata of record {record_id!r}",
        kind="bad-metadata",
        hint="values are text, whole numbers, finite floats, booleans, or non-empty lists of "
        "one of these; keys are non-empty text that does not start with chroma:, # or $",
    )


def _check_ids(delta: Delta) -> None:
    seen: set[str] = set()
    for record_id in (*delta.upserts.ids, *delta.updates, *delta.deletes):
        if not record_id or record_id != clean_text(record_id):
            raise RefusedInput(
                f"{record_id!r} cannot be the id of a record",
                kind="bad-id",
                hint="ids are non-empty text without NUL bytes",
            )
        if record_id in seen:
            raise RefusedInput(
                f"the run changes record {record_id!r} twice",
                kind="repeated-id",
                hint="say once per run what becomes of a record",
            )
        seen.add(record_id)


def _check_vectors(delta: Delta) -> None:
    vectors = delta.upserts.embeddings
    if not len(delta.upserts):
        return
    if vectors.ndim != 2 or not vectors.shape[1]:  # noqa: PLR2004 - rows and columns
        raise RefusedInput("embeddings have the shape (records, dimension)", kind="bad-vector")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        broken = delta.upserts.ids[int(np.argmin(finite))]
        raise RefusedInput(f"the vector of record {broken!r} is not finite", kind="bad-vector")
    model = delta.header.model
    if model is not None and vectors.shape[1] != model.dimension:
        raise RefusedInput(
            f"the vectors have {vectors.shape[1]} dimensions, {model} makes {model.dimension}",
            kind="wrong-dimension",
        )
