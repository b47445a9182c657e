"""The URL of a table -> where it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from chromaseal.errors import UsageError
from chromaseal.settings import without_secrets

_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_REGION = re.compile(r"[a-z0-9-]+")
_ENDPOINT = re.compile(r"https?://[^@?#]+")
_HINT = "dynamodb://TABLE?region=REGION; credentials come from the environment, never from the URL"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table is.

    Attributes:
        table: its name.
        region: of AWS; empty to go by the environment.
        endpoint: of what is asked instead of AWS; empty to go by the environment.
    """

    table: str
    region: str = ""
    endpoint: str = ""


def parse(url: str) -> Place:
    """Read a ledger's URL.

    Args:
        url: ``dynamodb://TABLE``, with ``region`` and ``endpoint`` in its query where they are
            not the environment's.

    Raises:
        UsageError: ``bad-url``.
    """
    parts = urlsplit(url)
    asked = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(asked)
    place = Place(parts.netloc, given.get("region", ""), given.get("endpoint", ""))
    why = _fault(place)
    if parts.path not in {"", "/"}:
        why = "only ?region= and &endpoint= can follow the table's name"
    elif not given.keys() <= {"region", "endpoint"} or len(given) != len(asked):
        why = "region and endpoint, each once, are all that can follow the ?"
    if why:
        raise UsageError(
            f"{without_secrets(url)!r} is no URL of a DynamoDB table: {why}",
            kind="bad-url",
            hint=_HINT,
        )
    return place


def _fault(place: Place) -> str:
    """Say what a place cannot be called; empty where it can. Nothing that was given is repeated."""
    if "@" in place.table:
        return "user and password have no place in it"
    if not _TABLE.fullmatch(place.table):
        return "a table's name has 3 to 255 letters, digits, dots, dashes and underscores"
    if place.region and not _REGION.fullmatch(place.region):
        return "a region's name has small letters, digits and dashes"
    if place.endpoint and not _ENDPOINT.fullmatch(place.endpoint):
        return "an endpoint is http:// or https://, a host and a port, without user and password"
    return ""
