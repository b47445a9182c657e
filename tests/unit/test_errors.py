"""The error tree is what its docstring says, and survives every border."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest

import chromaseal
from chromaseal import errors
from chromaseal.errors import ChromasealError, from_json

KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
CLASSES = ChromasealError.__subclasses__()
SOURCE = Path(chromaseal.__file__).parent


def test_the_docstring_draws_the_tree() -> None:
    """Every class is drawn with its exit code, in order, and nothing else is."""
    drawn = re.findall(r"── (\w+) +exit (\d+) ", errors.__doc__ or "")
    assert drawn == [(each.__name__, str(each.exit_code)) for each in CLASSES]


def test_exit_codes_are_unique() -> None:
    """A script can tell the classes apart; 0 is success and 1 is for what nobody foresaw."""
    codes = [each.exit_code for each in CLASSES]
    assert len(set(codes)) == len(codes)
    assert not {0, ChromasealError.exit_code} & set(codes)


def test_the_tree_is_flat() -> None:
    """from_json finds classes by name one level down; there is no second level."""
    assert [each for parent in CLASSES for each in parent.__subclasses__()] == []


def test_kinds_are_kebab_case() -> None:
    """Every kind that the source names, and every default."""
    sources = [path.read_text() for path in SOURCE.rglob("*.py")]
    kinds = {kind for text in sources for kind in re.findall(r'\bkind="([^"]*)"', text)}
    kinds |= {each.default_kind for each in CLASSES}
    assert len(kinds) > 20
    assert [kind for kind in sorted(kinds) if not KEBAB.fullmatch(kind)] == []


@pytest.mark.parametrize("error_class", CLASSES)
def test_errors_survive_borders(error_class: type[ChromasealError]) -> None:
    """Pickled or sent as JSON, an error keeps its class, words, kind, hint and exit code."""
    error = error_class("what happened", kind="some-kind", hint="what next")
    sent = json.loads(json.dumps(error.as_json()))
    for copy in (
        pickle.loads(pickle.dumps(error)),  # noqa: S301 - our own bytes
        from_json(sent, error_class=error_class.__name__),
    ):
        assert type(copy) is error_class
        assert copy.as_json() == error.as_json()
        assert str(copy) == "what happened"


def test_an_unknown_class_becomes_the_base_class() -> None:
    """A newer child may know errors that this release does not."""
    raw = {"error": "new-kind", "message": "m", "hint": ""}
    assert type(from_json(raw, error_class="Tomorrow")) is ChromasealError


def test_a_kind_is_never_empty() -> None:
    """Without a kind of its own an error has its class's."""
    assert [each("m").kind for each in CLASSES] == [each.default_kind for each in CLASSES]
    assert all(KEBAB.fullmatch(each.default_kind) for each in CLASSES)
