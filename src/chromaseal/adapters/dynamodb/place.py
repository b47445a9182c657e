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
    right = (
        _TABLE.fullmatch(place.table)
        and parts.path in {"", "/"}
        and given.keys() <= {"region", "endpoint"}
        and len(given) == len(asked)
        and (not place.region or _REGION.fullmatch(place.region))
        and (not place.endpoint or _ENDPOINT.fullmatch(place.endpoint))
    )
    if not right:
        raise UsageError(
            f"{without_secrets(url)!r} is no URL of a DynamoDB table", kind="bad-url", hint=_HINT
        )
    return place
