"""A message, and what is known of its receipt -> the changes of one collection.

Each message becomes a run of its own, whose id and time follow from the message: delivered twice
it is the same run, and of two in the wrong order the later one wins all the same.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chromaseal.clock import read_moment, to_iso
from chromaseal.delta.model import Changes
from chromaseal.digests import blake3_hex
from chromaseal.receipts.records import ReceiptKey, parse_record_id
from chromaseal.record import Metadata, MetadataPatch, MetadataValue, clean_text
from chromaseal.stream.labels import WordLabel, row_patch, word_patch
from chromaseal.stream.messages import FieldChange, Message
from chromaseal.stream.table import WORDS, EntityType

REMOVE = "REMOVE"
# Sequence numbers have up to 40 digits; of equal length they sort as numbers do.
_SEQUENCE_DIGITS = 40
_HASH_DIGITS = 32
# What is called otherwise in metadata than in the table.
_RENAMED = {"formatted_address": "address"}
_PLACE_KEYS = ("merchant_category", "address", "phone_number", "place_id")
_OLD_PLACE_KEYS = ("canonical_merchant_name",)
_PLACES = (EntityType.RECEIPT_PLACE, EntityType.RECEIPT_METADATA)
_TOLERANCE = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a receipt.

    Attributes:
        records: metadata by id, of all its records in the collection, in versions and waiting.
        labels: of all its words, as they are now.
    """

    records: Mapping[str, Metadata]
    labels: Sequence[WordLabel] = ()


def is_change(message: Message) -> bool:
    """Tell whether a message asks for changes of its own; others tell of a run that waits."""
    return message.entity_type is not EntityType.COMPACTION_RUN


def needs_labels(message: Message) -> bool:
    """Tell whether the changes depend on the labels that words have now."""
    return message.entity_type is EntityType.RECEIPT_WORD_LABEL


def run_id_of(message: Message) -> str:
    """Give the run that a message becomes, the same for each of its deliveries."""
    if message.sequence_number:
        unique = f"{int(message.sequence_number):0{_SEQUENCE_DIGITS}d}"
    else:
        unique = blake3_hex(_unique_text(message).encode())[:_HASH_DIGITS]
    return f"change-{unique}-{message.collection}"


def changed_at(message: Message, *, now: dt.datetime) -> str:
    """Give when it happened, for the order among runs; never later than now.

    Args:
        message: whose ``timestamp`` says so.
        now: by this machine's clock.
    """
    told = read_moment(message.timestamp)
    # A time to come would win over everything that is written until then.
    return to_iso(told if told is not None and told <= now + _TOLERANCE else now)


def changes_of(message: Message, known: Known) -> Changes:
    """Work out what a message changes in its collection; nothing where no record is concerned.

    Args:
        message: one for which ``is_change`` holds.
        known: its receipt, in its collection.
    """
    if message.entity_type in _PLACES:
        patch = _place_patch(message)
        return Changes(updates=dict.fromkeys(sorted(known.records), patch))
    if message.entity_type is EntityType.RECEIPT_WORD_LABEL:
        return Changes(updates=_label_updates(message, known))
    if message.event_name != REMOVE:
        return Changes()
    if message.entity_type is EntityType.RECEIPT:
        return Changes(deletes=sorted(known.records))
    return Changes(deletes=[record_id for record_id in _named(message) if record_id])


def attributes_of_run(message: Message) -> dict[str, str]:
    """Say what is to be remembered of the run that a message becomes."""
    data = message.entity_data
    return {
        "image_id": str(data["image_id"]),
        "receipt_id": str(data["receipt_id"]),
        "entity_type": message.entity_type.value,
        "event_name": message.event_name,
        "stream_record_id": message.record_id,
    }


def _unique_text(message: Message) -> str:
    data = json.dumps(dict(message.entity_data), sort_keys=True)
    return json.dumps([message.record_id, message.entity_type.value, data, message.timestamp])


def _key_of(message: Message) -> ReceiptKey:
    data = message.entity_data
    return ReceiptKey(str(data["image_id"]), int(data["receipt_id"]), "")


def _named(message: Message) -> list[str]:
    data, key = message.entity_data, _key_of(message)
    if message.entity_type is EntityType.RECEIPT_LINE:
        return [key.row_id(int(data["line_id"]))]
    return [key.word_id(int(data["line_id"]), int(data["word_id"]))]


def _place_patch(message: Message) -> MetadataPatch:
    no_name = "" if message.collection == WORDS else None
    if message.event_name == REMOVE:
        cleared = dict.fromkeys((*_PLACE_KEYS, *_OLD_PLACE_KEYS))
        return {**cleared, **_merchant(no_name), "place_removed_at": message.timestamp}
    patch: dict[str, MetadataValue | None] = {"last_place_update": message.timestamp}
    for name, change in sorted(message.changes.items()):
        if name == "merchant_name":
            patch |= _merchant(_scalar(change) or no_name)
        elif _RENAMED.get(name, name) in (*_PLACE_KEYS, *_OLD_PLACE_KEYS):
            patch[_RENAMED.get(name, name)] = _scalar(change)
    return patch


def _merchant(name: MetadataValue | None) -> dict[str, MetadataValue | None]:
    """Name the merchant; what was known of the one before says nothing of this one."""
    source = "receipt_place" if name else None
    return {"merchant_name": name, "merchant_source": source, "merchant_confidence": None}


def _scalar(change: FieldChange) -> MetadataValue | None:
    value: Any = change.new
    if isinstance(value, str):
        return clean_text(value)
    return value if isinstance(value, int | float | None) else json.dumps(value, sort_keys=True)


def _label_updates(message: Message, known: Known) -> dict[str, MetadataPatch]:
    data, key = message.entity_data, _key_of(message)
    line_id, word_id = int(data["line_id"]), int(data["word_id"])
    if message.collection == WORDS:
        record_id = key.word_id(line_id, word_id)
        own = [each for each in known.labels if (each.line_id, each.word_id) == (line_id, word_id)]
        return {record_id: word_patch(own, at=message.timestamp)}
    updates: dict[str, MetadataPatch] = {}
    for record_id, metadata in sorted(known.records.items()):
        lines = row_lines(record_id, metadata)
        if line_id in lines:
            own = [each for each in known.labels if each.line_id in lines]
            updates[record_id] = row_patch(own, at=message.timestamp)
    return updates


def row_lines(record_id: str, metadata: Metadata) -> frozenset[int]:
    """Give the lines that a record of ``lines`` stands for; its own, where it does not say."""
    told = metadata.get("row_line_ids")
    try:
        return frozenset(int(each) for each in json.loads(str(told)))
    except (ValueError, TypeError):
        return frozenset([parse_record_id(record_id).line_id])
