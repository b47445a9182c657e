"""Messages of the queues <-> their texts, in the schema that the existing programs read and write.

``docs/aws.md`` says which fields there are. What they do not know travels as an attribute of the
message, so that a body is one that they could have written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chromaseal.errors import RefusedInput
from chromaseal.stream.table import EntityType

SOURCE = "dynamodb_stream"
_SEQUENCE_NUMBER = "sequence_number"
_NAMED = {
    EntityType.COMPACTION_RUN: ("run_id",),
    EntityType.RECEIPT: ("image_id", "receipt_id"),
    EntityType.RECEIPT_PLACE: ("image_id", "receipt_id"),
    EntityType.RECEIPT_METADATA: ("image_id", "receipt_id"),
    EntityType.RECEIPT_LINE: ("image_id", "receipt_id", "line_id"),
    EntityType.RECEIPT_WORD: ("image_id", "receipt_id", "line_id", "word_id"),
    EntityType.RECEIPT_WORD_LABEL: ("image_id", "receipt_id", "line_id", "word_id"),
}
_EVENT_NAMES = ("INSERT", "MODIFY", "REMOVE")


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of an item, before and after."""

    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Message:
    """What happened to one item of the table, for one collection.

    Attributes:
        collection: whose queue it is in.
        entity_type: what the item is.
        event_name: ``INSERT``, ``MODIFY`` or ``REMOVE``.
        entity_data: which one.
        changes: of the fields that are watched.
        timestamp: when, ISO 8601 with an offset.
        record_id: the stream record's ``eventID``.
        region: of the stream.
        sequence_number: of the stream record; empty in messages of programs that do not tell.
    """

    collection: str
    entity_type: EntityType
    event_name: str
    entity_data: Mapping[str, Any]
    timestamp: str
    record_id: str
    changes: Mapping[str, FieldChange] = field(default_factory=dict)
    region: str = ""
    sequence_number: str = ""

    @property
    def run_id(self) -> str:
        """Give the run that a COMPACTION_RUN's message is about."""
        return str(self.entity_data["run_id"])


def body_of(message: Message) -> str:
    """Write a message's body."""
    plain = {
        "source": SOURCE,
        "entity_type": message.entity_type.value,
        "entity_data": dict(message.entity_data),
        "changes": {
            name: {"old": change.old, "new": change.new} for name, change in message.changes.items()
        },
        "event_name": message.event_name,
        "timestamp": message.timestamp,
        "stream_record_id": message.record_id,
        "aws_region": message.region,
    }
    return json.dumps(plain)


def attributes_of(message: Message) -> dict[str, str]:
    """Give a message's attributes, all of them texts."""
    attributes = {
        "source": SOURCE,
        "entity_type": message.entity_type.value,
        "event_name": message.event_name,
        "collection": message.collection,
    }
    if message.sequence_number:
        attributes[_SEQUENCE_NUMBER] = message.sequence_number
    return attributes


def read(body: str, attributes: Mapping[str, str]) -> Message:
    """Read a message.

    Args:
        body: JSON.
        attributes: of the message; ``collection`` is needed.

    Raises:
        RefusedInput: ``bad-message``, it is none of this schema; ``foreign-delta``, it tells of
            a delta without a run.
    """
    try:
        plain = json.loads(body)
    except ValueError as error:
        raise _bad(f"its body is no JSON: {error}") from error
    if not isinstance(plain, dict):
        raise _bad("its body is no object")
    if "delta_key" in plain:
        raise RefusedInput(
            f"a message tells of the delta {plain['delta_key']!r}, which belongs to no run",
            kind="foreign-delta",
            hint="chromaseal import --layout legacy takes it over; then delete the message",
        )
    try:
        return _checked(_message(plain, attributes))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _bad(f"{type(error).__name__}: {error}") from error


def _message(plain: Mapping[str, Any], attributes: Mapping[str, str]) -> Message:
    changes = {
        str(name): FieldChange(change.get("old"), change.get("new"))
        for name, change in plain.get("changes", {}).items()
    }
    return Message(
        collection=attributes["collection"],
        entity_type=EntityType(plain["entity_type"]),
        event_name=plain["event_name"],
        entity_data=dict(plain["entity_data"]),
        timestamp=str(plain["timestamp"]),
        record_id=str(plain["stream_record_id"]),
        changes=changes,
        region=str(plain.get("aws_region", "")),
        sequence_number=attributes.get(_SEQUENCE_NUMBER, ""),
    )


def _checked(message: Message) -> Message:
    if message.event_name not in _EVENT_NAMES:
        raise ValueError(f"event_name is {message.event_name!r}")
    for name in _NAMED[message.entity_type]:
        value = message.entity_data[name]
        wanted = str if name in {"run_id", "image_id"} else int
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}")
    if message.sequence_number and not message.sequence_number.isdecimal():
        raise ValueError(f"sequence_number is {message.sequence_number!r}")
    return message


def _bad(why: str) -> RefusedInput:
    return RefusedInput(
        f"a message cannot be understood: {why}",
        kind="bad-message",
        hint="it goes to the dead-letter queue after a few deliveries; docs/aws.md has the schema",
    )
