"""Dataclasses made from JSON -> a refusal where a value is of another type than its class says.

JSON can put anything anywhere, and Python goes on with it until something far away falls over.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from chromaseal.errors import Unsupported

_PLAIN = (int, float, bool, type(None))
# JSON's numbers are exact up to here in every language.
_LARGEST = 1 << 53


def check_types(value: object) -> None:
    """Check a dataclass and all that it holds; texts must be such that UTF-8 can hold them.

    Raises:
        ValueError: a value is of another type.
    """
    kind = type(value)
    if kind in _PLAIN:
        return
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, tuple):
        for each in value:
            check_types(each)
    elif is_dataclass(kind):
        for name, fits in _told(kind):
            held = getattr(value, name)
            if fits is not None and not fits(held):
                raise ValueError(f"a sound {name}")
            check_types(held)
    elif isinstance(value, Mapping):
        check_types((*value.keys(), *value.values()))
    else:
        raise ValueError("plain values")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_FITS: dict[str, Callable[[Any], bool]] = {
    "int": _is_count,
    "int | None": lambda value: value is None or _is_count(value),
    "str": _is_text,
    "float": lambda value: isinstance(value, int | float) and 0 <= value < float("inf"),
    "Mapping[str, str]": lambda value: (
        isinstance(value, Mapping) and all(map(_is_text, value.values()))
    ),
    "tuple[tuple[str, str], ...]": lambda value: all(_is_text(t) for pair in value for t in pair),
}


@functools.cache
def _told(kind: Any) -> tuple[tuple[str, Callable[[Any], bool] | None], ...]:  # noqa: ANN401 - a dataclass
    """Give what a class says of its fields, and how that is checked."""
    return tuple((field.name, _FITS.get(str(field.type))) for field in fields(kind))


def check_list_format(key: str, raw: Mapping[str, Any], wanted: str) -> None:
    """Refuse a history page or a record of removals in a newer format than this release knows.

    Raises:
        Unsupported: ``newer-version``.
    """
    if raw["format"] != wanted:
        raise ValueError(f"it is {raw['format']}")
    if raw["format_version"] > 1:
        raise Unsupported(
            f"{key} is in format {raw['format_version']}; this release reads 1",
            kind="newer-version",
            hint="read it with a later release of chromaseal",
        )
