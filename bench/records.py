"""Receipt-like records of a given number -> always the same record, wherever it is made.

Vectors are random and normalised: no two look alike, so nothing that stores or moves them can
compress them, which is the hard case. Ids, metadata and documents have the shape of the existing
pipeline's words. How many different values a key has decides how many pages of SQLite's indexes a
delta touches: x, y, width and height differ in every word, a receipt has one tilt, and
confidences are the three that Apple's Vision gives to texts.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from chromaseal.record import MetadataValue, Record, canonical_metadata

DIMENSION = 384
# A receipt's delta, as the pipeline writes it.
DELTA_RECORDS = 60

_SEED = 20251101
_WORDS_PER_LINE = 4
_START = dt.datetime(2025, 11, 1, tzinfo=dt.UTC)
_CONFIDENCES, _CONFIDENCE_SHARES = (0.3, 0.5, 1.0), (0.05, 0.15, 0.8)
_MERCHANTS = (
    *("Sprouts Farmers Market", "Costco Wholesale", "The Home Depot", "Trader Joe's"),
    *("Target", "CVS Pharmacy", "Vons", "Corner Bakery Cafe", "In-N-Out Burger", "Shell"),
)
_VOCABULARY = (
    *("TOTAL", "SUBTOTAL", "TAX", "CASH", "CHANGE", "VISA", "MILK", "BREAD", "ORGANIC", "EGGS"),
    *("BANANAS", "COFFEE", "THANK", "YOU", "STORE", "CASHIER", "QTY", "EACH", "SALE", "MEMBER"),
)


def make_records(first: int, count: int) -> list[Record]:
    """Make the records number ``first`` up to ``first + count``."""
    return [_record(number) for number in range(first, first + count)]


def own_bytes(records: Iterable[Record]) -> int:
    """Count the records' own bytes, the yardstick of what is written and sent for them.

    Id and document as UTF-8, four bytes for each number of the vector, metadata as JSON without
    white space.
    """
    return sum(
        len(record.id.encode())
        + len((record.document or "").encode())
        + 4 * record.embedding.size
        + len(canonical_metadata(record.metadata).encode())
        for record in records
    )


def _record(number: int) -> Record:
    receipt, place = divmod(number, DELTA_RECORDS)
    line, word = (part + 1 for part in divmod(place, _WORDS_PER_LINE))
    image_id, merchant, angle = _receipt(receipt)
    chance = np.random.default_rng((_SEED, number))
    vector = chance.standard_normal(DIMENSION, dtype=np.float32)
    vector /= np.linalg.norm(vector)
    text = _text(chance)
    x, y, width, height = (round(float(part), 6) for part in chance.random(4))
    metadata: dict[str, MetadataValue] = {
        "image_id": image_id,
        "receipt_id": 1,
        "line_id": line,
        "word_id": word,
        "x": x,
        "y": y,
        "width": round(width / 5, 6),
        "height": round(height / 50, 6),
        "angle": angle,
        "confidence": float(chance.choice(_CONFIDENCES, p=_CONFIDENCE_SHARES)),
        "merchant_name": merchant,
        "is_noise": bool(chance.random() < 0.02),
        "created_at": (_START + dt.timedelta(minutes=receipt)).isoformat(),
    }
    record_id = f"IMAGE#{image_id}#RECEIPT#00001#LINE#{line:05d}#WORD#{word:05d}"
    return Record(record_id, vector, text, metadata)


@lru_cache(maxsize=8)
def _receipt(number: int) -> tuple[str, str, float]:
    # Image ids are random, so that new records land all over SQLite's index of ids, as they do
    # in the pipeline.
    chance = np.random.default_rng((_SEED, number, 1))
    image_id = str(uuid.UUID(bytes=chance.bytes(16), version=4))
    merchant = _MERCHANTS[int(chance.integers(len(_MERCHANTS)))]
    return image_id, merchant, round(float(chance.normal(0, 1.5)), 2)


def _text(chance: np.random.Generator) -> str:
    words = [_VOCABULARY[i] for i in chance.integers(len(_VOCABULARY), size=2)]
    return f"{' '.join(words)} {chance.integers(1, 20_000) / 100:.2f}"
