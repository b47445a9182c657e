"""Records of a table's stream -> messages to the queues; what can never be told is put aside.

A shard is delivered in order: a record that fails for ever would hold up all that come after it,
until the stream forgets them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from chromaseal import keys
from chromaseal.digests import blake3_hex
from chromaseal.errors import ChromasealError, RefusedInput
from chromaseal.object_store import ObjectStore
from chromaseal.settle import put_once
from chromaseal.stream.messages import Message
from chromaseal.stream.translation import TableChange, messages_of

# Gives why for each message that was not taken, and None for those that were.
Send: TypeAlias = Callable[[Sequence[Message]], Sequence[ChromasealError | None]]
PutAside: TypeAlias = Callable[[str, RefusedInput], None]
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Announced:
    """What became of some records.

    Attributes:
        left: why, by sequence number, for those that are to be delivered again.
        sent: how many messages were.
        not_sent: how many were not.
        unread: how many records nobody can understand.
        without_queue: collections that have none; whoever compacts them finds their runs.
    """

    left: Mapping[str, ChromasealError] = field(default_factory=dict)
    sent: int = 0
    not_sent: int = 0
    unread: int = 0
    without_queue: tuple[str, ...] = ()


def announce(
    records: Mapping[str, Callable[[], TableChange]],
    collections: Collection[str],
    send: Send,
    put_aside: PutAside | None,
) -> Announced:
    """Tell the queues what records have to tell.

    Args:
        records: by sequence number, what reads each.
        collections: that have a queue.
        send: sends messages; not called without any.
        put_aside: keeps a record that no further delivery would mend, under its number, with the
            reason; None where all are delivered again.
    """
    left: dict[str, ChromasealError] = {}
    messages: list[tuple[str, Message]] = []
    without: set[str] = set()
    for number, read in records.items():
        try:
            found = _messages(read)
        except RefusedInput as error:
            left[number] = error
            continue
        messages += [(number, each) for each in found if each.collection in collections]
        without |= {each.collection for each in found} - set(collections)
    unread = len(left)
    outcomes = send([message for _, message in messages]) if messages else []
    told = zip(messages, outcomes, strict=True)
    not_sent = [(number, why) for (number, _), why in told if why is not None]
    left |= dict(not_sent)
    if put_aside is not None:
        left = _without_what_is_kept(left, put_aside)
    sent = len(messages) - len(not_sent)
    return Announced(left, sent, len(not_sent), unread, tuple(sorted(without)))


def store_aside(
    store: ObjectStore, number: str, record: Mapping[str, Any], error: RefusedInput
) -> str:
    """Store a record in a form that can be delivered by hand, with the reason; give its key."""
    plain = {"Records": [record], "reason": error.message, "kind": error.kind}
    body = json.dumps(plain, sort_keys=True, default=str).encode()
    # A later release may give another reason.
    key = keys.set_aside(f"{number}-{blake3_hex(body)[:_DIGITS]}")
    put_once(store, key, body)
    return key


def _messages(read: Callable[[], TableChange]) -> list[Message]:
    try:
        return messages_of(read())
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RefusedInput(
            f"a record of the stream cannot be understood: {type(error).__name__}: {error}",
            kind="bad-message",
            hint="it is set aside in the vault; docs/aws.md says how it is delivered by hand",
        ) from error


def _without_what_is_kept(
    left: Mapping[str, ChromasealError], put_aside: PutAside
) -> dict[str, ChromasealError]:
    again: dict[str, ChromasealError] = {}
    for number, error in left.items():
        if not isinstance(error, RefusedInput):
            again[number] = error
            continue
        try:
            put_aside(number, error)
        except ChromasealError as trouble:
            again[number] = trouble
    return again
