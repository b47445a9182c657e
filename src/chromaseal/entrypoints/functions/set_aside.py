"""A record of the stream that cannot be told -> the vault, with its content and the reason.

A shard is delivered in order: a record that fails for ever would hold up all that come after it,
until the stream forgets them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chromaseal import keys
from chromaseal.composition.functions import records_store
from chromaseal.digests import blake3_hex
from chromaseal.entrypoints.functions.telling import count, log_error
from chromaseal.errors import ChromasealError, RefusedInput

_DIGITS = 12


def set_aside(
    records: Mapping[str, Mapping[str, Any]],
    left: Mapping[str, ChromasealError],
    environment: Mapping[str, str],
) -> dict[str, ChromasealError]:
    """Put away what no further delivery would mend, in a form that can be delivered by hand.

    Args:
        records: by sequence number.
        left: why they were not told, by sequence number.
        environment: names the vault; without one all are delivered again.

    Returns:
        What is left to be delivered again, and why.
    """
    again = dict(left)
    for number, error in left.items():
        if not isinstance(error, RefusedInput) or not environment.get("CHROMASEAL_VAULT"):
            continue
        try:
            key = _put(environment, number, records[number], error)
        except ChromasealError as trouble:
            again[number] = trouble
            continue
        del again[number]
        count("StreamRecordsSetAside")
        log_error("set aside", error, key=key, sequence_number=number)
    return again


def _put(
    environment: Mapping[str, str], number: str, record: Mapping[str, Any], error: RefusedInput
) -> str:
    from chromaseal.settle import put_once  # noqa: PLC0415 - seldom needed

    plain = {"Records": [record], "reason": error.message, "kind": error.kind}
    body = json.dumps(plain, sort_keys=True, default=str).encode()
    # A later release may give another reason.
    key = keys.set_aside(f"{number}-{blake3_hex(body)[:_DIGITS]}")
    put_once(records_store(environment), key, body)
    return key
