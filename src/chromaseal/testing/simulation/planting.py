"""A mistake is planted into the product's own source, for as long as a block lasts.

The text of one place is replaced and compiled, and the function of that place runs the changed
code under its own name, wherever it was imported. A place that is not there, or there twice, is
an error, so a bug cannot get lost when the product changes.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake that a good engineer could have made.

    Attributes:
        name: what is wrong, in a few words.
        place: module below ``chromaseal`` and function, as ``settle.swap``.
        right: the text as it is.
        wrong: the text as it could have been.
        test: the test that finds it, where the simulator cannot.
    """

    name: str
    place: str
    right: str
    wrong: str
    test: str = ""


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Let the product have a bug.

    Raises:
        LookupError: the product has no such place any more.
    """
    module, function = _function(bug.place)
    source = inspect.getsource(module)
    if source.count(bug.right) != 1:
        times = source.count(bug.right)
        raise LookupError(f"{bug.name}: {bug.right!r} is {times} times in {module.__name__}")
    changed = compile(source.replace(bug.right, bug.wrong), module.__file__ or "", "exec")
    code = _code_of(changed, function.__qualname__)
    if code == function.__code__:
        raise LookupError(f"{bug.name}: {bug.place} is the same without it")
    before, function.__code__ = function.__code__, code
    try:
        yield
    finally:
        function.__code__ = before


def _function(place: str) -> tuple[Any, FunctionType]:
    """Find the module and the function of a place."""
    parts = place.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(["chromaseal", *parts[:count]]))
        except ModuleNotFoundError:
            continue
        found = functools.reduce(getattr, parts[count:], module)
        function = inspect.unwrap(found)  # type: ignore[arg-type] # a function by now
        if isinstance(function, FunctionType):
            return module, function
    raise LookupError(f"there is no {place}")


def _code_of(code: CodeType, qualified_name: str) -> CodeType:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_qualname == qualified_name:
                return inner
            try:
                return _code_of(inner, qualified_name)
            except LookupError:
                continue
    raise LookupError(f"there is no {qualified_name}")
