"""Changes of the table's items -> messages for the collections that they concern."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chromaseal.keys import delta_prefix
from chromaseal.stream.messages import FieldChange, Message
from chromaseal.stream.table import LINES, WORDS, Entity, EntityType, Item, entity_of, receipt_of

_PLACE_FIELDS = (
    "merchant_name",
    "merchant_category",
    "formatted_address",
    "phone_number",
    "place_id",
)
_METADATA_FIELDS = (
    "canonical_merchant_name",
    "merchant_name",
    "merchant_category",
    "address",
    "phone_number",
    "place_id",
)
_LABEL_FIELDS = (
    "label",
    "reasoning",
    "validation_status",
    "label_proposed_by",
    "label_consolidated_from",
)
_WATCHED = {
    EntityType.RECEIPT_PLACE: _PLACE_FIELDS,
    EntityType.RECEIPT_METADATA: _METADATA_FIELDS,
    EntityType.RECEIPT_WORD_LABEL: _LABEL_FIELDS,
}
_TARGETS = {
    EntityType.RECEIPT_PLACE: (LINES, WORDS),
    EntityType.RECEIPT_METADATA: (LINES, WORDS),
    EntityType.RECEIPT_WORD_LABEL: (WORDS, LINES),
    EntityType.RECEIPT: (LINES, WORDS),
    EntityType.RECEIPT_LINE: (LINES,),
    EntityType.RECEIPT_WORD: (WORDS,),
}
# A receipt that gets its place after it was embedded; labels come with the words in most cases,
# and the existing stream processor does not tell of new ones either.
_TOLD_WHEN_NEW = (EntityType.RECEIPT_PLACE, EntityType.RECEIPT_METADATA)
_PENDING = "PENDING"
_AT_REST = ("FAILED", "CANCELLED", "COMPLETED")
_MOMENT = dt.timedelta(seconds=1) - dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TableChange:
    """One record of the table's stream, with plain values.

    Attributes:
        event_name: ``INSERT``, ``MODIFY`` or ``REMOVE``.
        partition: the item's ``PK``.
        sort: the item's ``SK``.
        before: the item; None where it was not there.
        after: the item; None where it is gone.
        record_id: the record's ``eventID``.
        sequence_number: decimal; grows from change to change of an item.
        created_s: seconds since the epoch, rounded down to whole ones.
        region: of the stream.
    """

    event_name: str
    partition: str
    sort: str
    before: Item | None
    after: Item | None
    record_id: str
    sequence_number: str
    created_s: int
    region: str

    @property
    def timestamp(self) -> str:
        """Give the end of the second in which it happened.

        The stream does not say more. A run that the same program wrote just before, by its own
        clock, must not become the later one.
        """
        second = dt.datetime.fromtimestamp(self.created_s, dt.UTC)
        return (second + _MOMENT).isoformat()


def messages_of(change: TableChange) -> list[Message]:
    """Tell what queues are to be told of a change; nothing for most of them."""
    entity = entity_of(change.partition, change.sort)
    if entity is None:
        return []
    if entity.type is EntityType.COMPACTION_RUN:
        return [
            _message(change, entity, collection, data)
            for collection, data in sorted(_waiting_parts(change, entity).items())
        ]
    changes = _watched_changes(change, entity.type)
    is_told = bool(changes) and (change.before is not None or entity.type in _TOLD_WHEN_NEW)
    if not is_told and change.event_name != "REMOVE":
        return []
    data = {"entity_type": entity.type.value, **entity.ids}
    return [
        _message(change, entity, collection, data, changes) for collection in _TARGETS[entity.type]
    ]


def _message(
    change: TableChange,
    entity: Entity,
    collection: str,
    data: Mapping[str, Any],
    changes: Mapping[str, FieldChange] | None = None,
) -> Message:
    return Message(
        collection=collection,
        entity_type=entity.type,
        event_name=change.event_name,
        entity_data=data,
        timestamp=change.timestamp,
        record_id=change.record_id,
        changes=changes or {},
        region=change.region,
        sequence_number=change.sequence_number,
    )


def _watched_changes(change: TableChange, entity_type: EntityType) -> dict[str, FieldChange]:
    before, after = change.before or {}, change.after or {}
    pairs = {
        name: FieldChange(_plain(before.get(name)), _plain(after.get(name)))
        for name in _WATCHED.get(entity_type, ())
    }
    return {name: each for name, each in pairs.items() if each.old != each.new}


def _waiting_parts(change: TableChange, entity: Entity) -> dict[str, dict[str, Any]]:
    """Give what a run's message says, by the collections whose parts have begun to wait."""
    if change.after is None:
        return {}
    before, after = _states(change.before), _states(change.after)
    waits = [
        name
        for name, state in after.items()
        if state == _PENDING and (change.before is None or before.get(name) in _AT_REST)
    ]
    # The key of a run that other programs cannot read does not say whose it is.
    receipt = receipt_of(json.loads(change.after.get("attributes") or "{}"))
    data = {**entity.ids, **_prefixes(change.after), **receipt}
    return {name: {**data, "delta_s3_prefix": data.get(f"{name}_delta_prefix")} for name in waits}


def _states(item: Item | None) -> dict[str, str]:
    if item is None:
        return {}
    if "parts" in item:
        return {name: str(part["state"]) for name, part in item["parts"].items()}
    return {name: str(item.get(f"{name}_state", _PENDING)) for name in (LINES, WORDS)}


def _prefixes(item: Item) -> dict[str, str]:
    if "parts" in item:
        return {
            f"{name}_delta_prefix": delta_prefix(str(part["delta_key"]))
            for name, part in item["parts"].items()
        }
    names = (f"{LINES}_delta_prefix", f"{WORDS}_delta_prefix")
    return {name: str(item[name]) for name in names if item.get(name)}


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever an item may hold
    """Give what JSON can hold."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
