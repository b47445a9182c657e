"""Originals and readings in the vault: what makes any hit lead back to its image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from chromaseal import keys
from chromaseal.digests import blake3_hex
from chromaseal.errors import Conflict, Damaged, NotFound, RefusedInput
from chromaseal.object_store import ObjectStore
from chromaseal.receipts.model import Reading
from chromaseal.receipts.reading import reading_from_json, reading_to_json
from chromaseal.settle import put_once

FORMAT = "chromaseal.reading"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class StoredReading:
    """A reading and where it came from.

    Attributes:
        image_id: of the page.
        source_name: the file's name.
        digest: BLAKE3 of the file, under which it is kept.
        page_number: from 1.
        read_at: when, UTC, ISO 8601.
        durations_s: seconds by step.
        reading: what OCR found.
    """

    image_id: str
    source_name: str
    digest: str
    page_number: int
    read_at: str
    durations_s: dict[str, float]
    reading: Reading


def store_original(store: ObjectStore, digest: str, content: bytes) -> None:
    """Keep an ingested file, once, under its digest.

    Raises:
        RefusedInput: ``changed-file``, the content is not what was ingested.
    """
    if blake3_hex(content) != digest:
        raise RefusedInput(
            "the file changed while it was being ingested",
            kind="changed-file",
            hint="ingest it again once nothing writes to it",
        )
    key = keys.original(digest)
    if store.head(key) is None:
        put_once(store, key, content)


def load_original(store: ObjectStore, digest: str) -> bytes:
    """Give an ingested file back.

    Raises:
        NotFound: ``no-object``.
        Damaged: ``bad-original``.
    """
    content = store.get(keys.original(digest)).body
    if blake3_hex(content) != digest:
        raise Damaged(f"{keys.original(digest)} is not what it was", kind="bad-original")
    return content


def store_reading(store: ObjectStore, reader_id: str, stored: StoredReading) -> StoredReading:
    """Keep a reading, once; give the one that is kept.

    Two writers may read the same page at once; what the first one stored holds.
    """
    plain = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "image_id": stored.image_id,
        "source_name": stored.source_name,
        "digest": stored.digest,
        "page_number": stored.page_number,
        "read_at": stored.read_at,
        "durations_s": stored.durations_s,
        "reading": reading_to_json(stored.reading),
    }
    body = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    try:
        put_once(store, keys.reading(stored.image_id, reader_id), body)
    except Conflict:
        return load_reading(store, stored.image_id, reader_id) or stored
    return stored


def load_reading(store: ObjectStore, image_id: str, reader_id: str) -> StoredReading | None:
    """Give a stored reading; None where the page was not read by that reader.

    Raises:
        Damaged: ``bad-reading``.
    """
    key = keys.reading(image_id, reader_id)
    try:
        raw: dict[str, Any] = json.loads(store.get(key).body)
        return StoredReading(
            image_id=raw["image_id"],
            source_name=raw["source_name"],
            digest=raw["digest"],
            page_number=raw["page_number"],
            read_at=raw["read_at"],
            durations_s=raw["durations_s"],
            reading=reading_from_json(raw["reading"]),
        )
    except NotFound:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{key} cannot be read: {error}", kind="bad-reading") from error
