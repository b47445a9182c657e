"""Keys of the receipts table -> what an item is, and which receipt it is of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

Item: TypeAlias = Mapping[str, Any]

LINES = "lines"
WORDS = "words"


class EntityType(StrEnum):
    """What an item of the table is, by the name that messages give it."""

    COMPACTION_RUN = "COMPACTION_RUN"
    RECEIPT = "RECEIPT"
    RECEIPT_LINE = "RECEIPT_LINE"
    RECEIPT_WORD = "RECEIPT_WORD"
    RECEIPT_WORD_LABEL = "RECEIPT_WORD_LABEL"
    RECEIPT_PLACE = "RECEIPT_PLACE"
    RECEIPT_METADATA = "RECEIPT_METADATA"


_IMAGE = re.compile(r"IMAGE#(?P<image_id>[^#]+)")
_LINE = r"#LINE#(?P<line_id>\d{5,})"
_WORD = rf"{_LINE}#WORD#(?P<word_id>\d{{5,}})"
_RECEIPT_ITEMS = {
    entity: re.compile(rf"RECEIPT#(?P<receipt_id>\d{{5,}}){rest}")
    for entity, rest in {
        EntityType.RECEIPT: "",
        EntityType.RECEIPT_LINE: _LINE,
        EntityType.RECEIPT_WORD: _WORD,
        EntityType.RECEIPT_WORD_LABEL: rf"{_WORD}#LABEL#(?P<label>.+)",
        EntityType.RECEIPT_PLACE: "#PLACE",
        EntityType.RECEIPT_METADATA: "#METADATA",
        EntityType.COMPACTION_RUN: r"#COMPACTION_RUN#(?P<run_id>.+)",
    }.items()
}
_NUMBERS = ("receipt_id", "line_id", "word_id")
# Runs that other programs cannot read have a key of their own: see docs/formats/ledger.md.
_OWN_RUN = re.compile(r"CHROMASEAL#RUN#(?P<run_id>.+)")


@dataclass(frozen=True, slots=True)
class Entity:
    """What an item's key says.

    Attributes:
        type: what it is.
        ids: ``image_id``, ``receipt_id`` and so on; numbers as integers.
    """

    type: EntityType
    ids: Mapping[str, str | int]


def entity_of(partition: str, sort: str) -> Entity | None:
    """Read an item's key; None for one that has nothing to do with a vault.

    Args:
        partition: its ``PK``.
        sort: its ``SK``.
    """
    own = _OWN_RUN.fullmatch(partition)
    if own is not None and sort == "RUN":
        return Entity(EntityType.COMPACTION_RUN, own.groupdict())
    image = _IMAGE.fullmatch(partition)
    if image is None:
        return None
    for entity, pattern in _RECEIPT_ITEMS.items():
        found = pattern.fullmatch(sort)
        if found is not None:
            ids = image.groupdict() | found.groupdict()
            numbered = {k: int(v) if k in _NUMBERS else v for k, v in ids.items()}
            return Entity(entity, numbered)
    return None


def receipt_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Give the receipt that a run is of, as messages name it; nothing where it is of none.

    Args:
        attributes: of the run.
    """
    found: dict[str, Any] = {}
    if attributes.get("image_id"):
        found["image_id"] = attributes["image_id"]
    if str(attributes.get("receipt_id", "")).isdecimal():
        found["receipt_id"] = int(attributes["receipt_id"])
    return found
