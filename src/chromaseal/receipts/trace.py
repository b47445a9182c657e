"""A run, an image or a record -> every step from the image to the version."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chromaseal.errors import NotFound, UsageError
from chromaseal.keys import readings
from chromaseal.receipts.ingest import reader_id
from chromaseal.receipts.records import parse_record_id
from chromaseal.receipts.vault_objects import load_reading
from chromaseal.run.model import Run
from chromaseal.trace import TraceStep
from chromaseal.vault import Vault

_BEGINNING = re.compile(r"[0-9a-f][0-9a-f-]*")


def runs_of(vault: Vault, name: str) -> list[Run]:
    """Give the runs that a record's id, or a run's or image's or its beginning stands for.

    Raises:
        NotFound: ``no-run``.
        UsageError: ``ambiguous-run``, several runs or images begin like that.
    """
    # As search shows the receipt of a hit: the image, and which receipt on it.
    image_id = name if name.startswith("IMAGE#") else name.partition("#")[0]
    if name.startswith("IMAGE#"):
        try:
            image_id = parse_record_id(name).image_id
        except UsageError as error:
            raise NotFound(error.message, kind="no-run", hint=error.hint) from error
    found = vault.parts.ledger.find("image_id", image_id)
    if found:
        return found
    try:
        return [vault.run(name)]
    except NotFound as error:
        image_ids = _images_that_begin(vault, image_id)
        if image_ids:
            return vault.parts.ledger.find("image_id", image_ids[0])
        raise NotFound(
            f"{name} is no run, image or record of this vault", kind="no-run", hint=error.hint
        ) from error


def _images_that_begin(vault: Vault, beginning: str) -> list[str]:
    """Give the one image whose id begins like that, or none."""
    if not _BEGINNING.fullmatch(beginning):
        return []
    folder = readings(beginning).removesuffix("/")
    found: list[str] = []
    for info in vault.parts.store.list(folder):
        image_id = info.key.split("/")[-2]
        if image_id in found:
            continue
        found.append(image_id)
        if len(found) > 1:
            raise UsageError(
                f"several images begin with {beginning}: {', '.join(found)}",
                kind="ambiguous-run",
                hint="give more of the id",
            )
    return found


def trace(vault: Vault, run: Run) -> Iterator[TraceStep]:
    """Tell every step of a run, the image's own first."""
    attributes = run.attributes
    if "image_id" in attributes and "engine" in attributes:
        yield from _trace_image(vault, attributes["image_id"], attributes["engine"])
    if "merchant_name" in attributes:
        yield TraceStep(
            step="merchant",
            at=run.created_at,
            duration_s=None,
            size_bytes=None,
            digest="",
            detail=f"{attributes['merchant_name'] or 'unknown'}, by "
            f"{attributes.get('merchant_source', 'none')}",
        )
    yield from vault.trace(run.run_id)


def _trace_image(vault: Vault, image_id: str, engine: str) -> Iterator[TraceStep]:
    stored = load_reading(vault.parts.store, image_id, reader_id(engine))
    if stored is None:
        return
    reading = stored.reading
    yield TraceStep(
        step="image",
        at=stored.read_at,
        duration_s=stored.durations_s.get("decode"),
        size_bytes=None,
        digest=stored.digest,
        detail=f"{stored.source_name}, page {stored.page_number}, {reading.width_px} x "
        f"{reading.height_px} pixels, turned by {reading.turned_degrees} degrees",
    )
    words = sum(len(line.words) for line in reading.lines)
    yield TraceStep(
        step="ocr",
        at=stored.read_at,
        duration_s=stored.durations_s.get("ocr"),
        size_bytes=None,
        digest="",
        detail=f"{reading.engine}: {len(reading.lines)} lines, {words} words",
    )
    yield TraceStep(
        step="embed",
        at=stored.read_at,
        duration_s=stored.durations_s.get("embed"),
        size_bytes=None,
        digest="",
        detail="rows and words with their context",
    )
