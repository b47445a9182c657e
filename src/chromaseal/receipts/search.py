"""A question -> records of the ``lines`` or ``words`` collection, each with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chromaseal.embedding import Embedder
from chromaseal.errors import Conflict
from chromaseal.reader import Hit, Reader
from chromaseal.receipts.context import EDGE
from chromaseal.receipts.model import Box
from chromaseal.receipts.records import WORDS_COLLECTION
from chromaseal.record import Metadata, Scalar, clean_text

_CANDIDATES_PER_FORM = 50


@dataclass(frozen=True, slots=True)
class Place:
    """Where on which receipt a record stands.

    Attributes:
        image_id: of the page.
        receipt_id: which receipt on it.
        box: fractions of the upright page, from the bottom left.
    """

    image_id: str
    receipt_id: int
    box: Box


@dataclass(frozen=True, slots=True)
class Found:
    """One record that a search found.

    Attributes:
        id: of the record.
        text: of the row or word.
        merchant: as the receipt's records name it; empty if unknown.
        distance: squared distance between question and text; None where the search was not
            by meaning.
        run_id: the run that brought it.
        place: where it stands; None for a record that is not of a receipt.
    """

    id: str
    text: str
    merchant: str
    distance: float | None
    run_id: str
    place: Place | None


def search(
    reader: Reader,
    text: str,
    embedder: Embedder | None,
    *,
    limit: int = 10,
    where: Mapping[str, Scalar] | None = None,
    exact: bool = False,
) -> list[Found]:
    """Search one version of a collection.

    Args:
        reader: the open version.
        text: what to look for; empty to go by metadata only.
        embedder: the collection's own model; not needed for exact text or metadata only.
        limit: results at most.
        where: metadata that a result must have.
        exact: whether the text must occur as it is, instead of something of that meaning.

    Raises:
        Conflict: ``other-model``, the collection was embedded with another model.
    """
    text = clean_text(text)
    if exact or not text or embedder is None:
        return [_found(hit) for hit in reader.find(limit=limit, where=where, contains=text)]
    model = reader.version.manifest.model
    if model is not None and model != embedder.pin:
        raise Conflict(
            f"the collection holds vectors of {model}; the question would be embedded with "
            f"{embedder.pin}",
            kind="other-model",
            hint="name the collection's own model with --model",
        )
    candidates = _candidates(reader, text, embedder, limit=limit, where=where)
    return [_found(hit) for hit in _closest(candidates, text, embedder)[:limit]]


def _candidates(
    reader: Reader,
    text: str,
    embedder: Embedder,
    *,
    limit: int,
    where: Mapping[str, Scalar] | None,
) -> list[Hit]:
    """Give the records whose text in its context is near, by the question in both forms."""
    forms = [text, query_input(reader.version.manifest.collection, text)]
    enough = max(limit, _CANDIDATES_PER_FORM)
    found = reader.nearest(embedder.embed(forms), limit=enough, where=where)
    return list({hit.id: hit for hits in found for hit in hits}.values())


def _closest(candidates: Sequence[Hit], text: str, embedder: Embedder) -> list[Hit]:
    """Sort candidates by their own text alone, the neighbours left out.

    Stored vectors tell a text among its neighbours; a question has none, so by stored vectors
    alone the rows at a page's edges, which have fewest, come first.
    """
    texts = [hit.document or "" for hit in candidates]
    vectors = embedder.embed([text, *texts])
    distances = np.square(vectors[1:] - vectors[0]).sum(axis=1)
    order = sorted(range(len(candidates)), key=lambda i: (float(distances[i]), candidates[i].id))
    return [replace(candidates[i], distance=float(distances[i])) for i in order]


def query_input(collection: str, text: str) -> str:
    """Give a question the form that the collection's own texts were embedded in."""
    if collection == WORDS_COLLECTION:
        return f"{EDGE} {EDGE} {text} {EDGE} {EDGE}"
    return f"{EDGE}\n{text}\n{EDGE}"


def place_of(metadata: Metadata, *, is_word: bool) -> Place | None:
    """Give a record's place; words keep their centre, rows their lower left corner."""
    values = [metadata.get(key) for key in ("x", "y", "width", "height")]
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    receipt_id = metadata.get("receipt_id")
    if len(numbers) != len(values) or not isinstance(receipt_id, int):
        return None
    x, y, width, height = numbers
    if is_word:
        x, y = x - width / 2, y - height / 2
    return Place(str(metadata.get("image_id", "")), receipt_id, Box(x, y, width, height))


def _found(hit: Hit) -> Found:
    return Found(
        id=hit.id,
        text=hit.document or "",
        merchant=str(hit.metadata.get("merchant_name", "")),
        distance=hit.distance,
        run_id=str(hit.metadata.get("run_id", "")),
        place=place_of(hit.metadata, is_word="word_id" in hit.metadata),
    )
