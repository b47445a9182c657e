"""Commands in what is said -> the same with the vault and the ledger that were asked for.

Whoever was told a command can paste it: it looks where this one has looked.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qs, quote, urlsplit

from chromaseal.settings import is_dynamodb, without_secrets

# Nothing before a host, and nothing after a path.
_ENDPOINT = re.compile(r"https?://[^@?#]+")
_CARRIED = ("--vault", "--ledger")
# Those that know a vault; the others take directories only.
_COMMAND = re.compile(
    r"\bchromaseal (?:runs (?:list|show|retry|cancel)|repair(?! (?:DIR\b|\S*/|\.))|push|pull"
    r"|replicate|follow|sync|log|show|diff|open|tag|untag|rollback|gc|stats|verify|doctor|ingest|compact|search"
    r"|trace|worker|watch|import|export)\b"
)


def asked_with(arguments: Sequence[str]) -> str:
    """Give the options of a command line that say where vault and ledger are, fit for a shell."""
    return shlex.join(_options(arguments))


def _options(arguments: Sequence[str]) -> Iterator[str]:
    following = (*arguments[1:], "")
    for argument, value in zip(arguments, following, strict=False):
        if argument == "--":
            return
        name, equals, own = argument.partition("=")
        if name in _CARRIED and (equals or value):
            yield from (name, _shown(own if equals else value))


def _shown(place: str) -> str:
    if "://" not in place:
        return place
    # What is said is kept in logs: who pastes it brings user and password along.
    shown = without_secrets(place)
    endpoints = parse_qs(urlsplit(place).query).get("endpoint", []) if is_dynamodb(place) else []
    if len(endpoints) != 1 or not _ENDPOINT.fullmatch(endpoints[0]):
        return shown
    # Without it the command would ask, or change, the table of that name at AWS.
    return f"{shown}{'&' if '?' in shown else '?'}endpoint={quote(endpoints[0], safe='/:')}"


def pastable(text: str, asked: str) -> str:
    """Give every command in a text the options that this one was asked with.

    Args:
        text: what is to be said.
        asked: those options; empty where there are none.
    """
    return _COMMAND.sub(lambda found: f"{found[0]} {asked}", text) if asked else text
