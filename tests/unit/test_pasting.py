"""Commands that are said can be pasted: they look where the one that said them has looked."""

from __future__ import annotations

import pytest

from chromaseal.entrypoints.cli.pasting import asked_with, pastable


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["doctor"], ""),
        (["doctor", "--vault", "./my vault"], "--vault './my vault'"),
        (["doctor", "--ledger=x.sqlite", "--json", "--vault", "v"], "--ledger x.sqlite --vault v"),
        (["doctor", "--vault"], ""),
        (["search", "--", "--vault", "v"], ""),
        (["compact", "--ledger", "postgresql://a:secret@h/d"], "--ledger postgresql://h/d"),
        (
            ["doctor", "--ledger=dynamodb://k:secret@runs?region=x&endpoint=http://h:1&secret=y"],
            "--ledger 'dynamodb://runs?region=x&endpoint=http://h:1'",
        ),
        (
            ["doctor", "--ledger", "dynamodb://runs?endpoint=http://a:secret@h"],
            "--ledger dynamodb://runs",
        ),
        (
            ["doctor", "--ledger", "dynamodb://runs?endpoint=http://h"],
            "--ledger 'dynamodb://runs?endpoint=http://h'",
        ),
    ],
)
def test_what_was_asked_with_is_found(arguments: list[str], asked: str) -> None:
    """In both forms of an option, quoted for a shell."""
    assert asked_with(arguments) == asked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chromaseal repair notes", "chromaseal repair -v notes"),
        ("`chromaseal runs retry x`, or leave it", "`chromaseal runs retry -v x`, or leave it"),
        ("chromaseal compact", "chromaseal compact -v"),
        (
            "chromaseal locks DIR; chromaseal salvage A B",
            "chromaseal locks DIR; chromaseal salvage A B",
        ),
        ("bring it back", "bring it back"),
    ],
)
def test_commands_carry_it(text: str, said: str) -> None:
    """Those that know a vault; without anything asked the text stays."""
    assert pastable(text, "-v") == said
    assert pastable(text, "") == text
