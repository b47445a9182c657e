"""Cells of a damaged table, which may be anything -> what they should be, or that they are not."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

_SEQ_ID_BYTES = 8
_WORD_BYTES = 4


def numbers_in(vector: Any, encoding: Any) -> np.ndarray | None:  # noqa: ANN401 - may be anything
    """Give the vector of an entry of the log; None where it is none."""
    if not isinstance(vector, bytes) or encoding != "FLOAT32" or len(vector) % _WORD_BYTES:
        return None
    numbers = np.frombuffer(vector, dtype="<f4")
    return numbers if np.isfinite(numbers).all() else None


def is_mapping(metadata: Any) -> bool:  # noqa: ANN401 - may be anything
    """Whether the metadata of an entry of the log can be read, or there is none."""
    try:
        return metadata is None or isinstance(json.loads(metadata), dict)
    except (ValueError, TypeError):
        return False


def value_in(
    text: Any,  # noqa: ANN401 - may be anything
    number: Any,  # noqa: ANN401
    real: Any,  # noqa: ANN401
    boolean: Any,  # noqa: ANN401
) -> tuple[Any, str]:
    """Give a value of metadata, or why it is none."""
    given = [value for value in (text, number, real, boolean) if value is not None]
    if len(given) != 1:
        return None, f"{len(given)} values at once: {given}" if given else "it has no value"
    right = (
        (text is None or isinstance(text, str))
        and (number is None or isinstance(number, int))
        and (real is None or (isinstance(real, float) and math.isfinite(real)))
        and boolean in {None, 0, 1}
    )
    if not right:
        return None, f"of no known type: {given[0]!r}"
    return (bool(boolean) if boolean is not None else given[0]), ""


def place_in(value: Any) -> int | None:  # noqa: ANN401 - may be anything
    """Give a place in the log; older schemas have eight bytes."""
    if isinstance(value, bytes) and len(value) == _SEQ_ID_BYTES:
        return int.from_bytes(value, "big")
    return value if isinstance(value, int) else None
