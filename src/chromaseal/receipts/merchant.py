"""Who issued a receipt: its rows, anchors, vectors and memory -> merchant, with the reason.

Memory comes first, because a name read off one receipt may be garbled while the same shop was
read well before: by equal phone, then similar address, then near text. Only what memory does
not know is read off the receipt's own top.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from chromaseal.embedding import Vectors
from chromaseal.receipts.anchors import Anchors, Span
from chromaseal.receipts.merchant_memory import (
    MemoryCandidate,
    MemoryQuery,
    MerchantMemory,
    QueryKind,
)
from chromaseal.receipts.model import Reading
from chromaseal.receipts.normalisers import merchant_name, same_phone
from chromaseal.receipts.rows import Row
from chromaseal.receipts.text_similarity import TextSimilarity
from chromaseal.receipts.top_lines import TopName, name_from_top

Source: TypeAlias = Literal["top-lines", "memory-phone", "memory-address", "memory-text", "none"]

CANDIDATES_PER_QUERY = 20
MIN_CONFIDENCE_ANCHOR = 0.70
MIN_CONFIDENCE_TEXT = 0.85
BOOST_EQUAL_PHONE = 0.20
BOOST_SIMILAR_ADDRESS = 0.15

_SIMILAR_ADDRESS = 0.90
_SIMILAR_NAME = 0.85
_SIMILAR_TOKEN = 0.85
_NAME_IN_TEXT = 0.90
_TRUSTED_OWN_NAME = 0.5
_TEACHES_FROM_CONFIDENCE = 0.5
_TOP_ROWS_WITHOUT_NAME = 2
_ADDRESS_ROWS_ASKED = 2
_SOURCES: dict[QueryKind, Source] = {
    "phone": "memory-phone",
    "address": "memory-address",
    "text": "memory-text",
}
_GENERIC_WORDS = (
    "the and sdn bhd berhad ltd limited inc llc plc corp company enterprise trading holdings store"
    " stores shop mart market restaurant restoran cafe coffee bakery pharmacy services service"
    " centre center retail food foods group malaysia kuala lumpur selangor jalan hotel"
)
_GENERIC_TOKENS = frozenset(_GENERIC_WORDS.split())


@dataclass(frozen=True, slots=True)
class Merchant:
    """Who issued a receipt, and what else its anchors say; "" stands for unknown.

    Attributes:
        name: stripped, in title case.
        confidence: 0..1.
        source: where the name came from.
        phone: digits of the first phone.
        address: normalised.
        date: ISO.
        total: with a decimal point and two decimals.
        explanation: one sentence for people.
    """

    name: str
    confidence: float
    source: Source
    phone: str = ""
    address: str = ""
    date: str = ""
    total: str = ""
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class _Receipt:
    """What this receipt itself says."""

    rows: Sequence[Row]
    anchors: Anchors
    own_name: TopName | None

    @property
    def text(self) -> str:
        return "\n".join(row.text for row in self.rows)

    @property
    def trusted_name(self) -> str:
        own = self.own_name
        return own.text if own is not None and own.confidence >= _TRUSTED_OWN_NAME else ""


@dataclass(frozen=True, slots=True)
class _Hit:
    candidate: MemoryCandidate
    confidence: float


def resolve_merchant(
    reading: Reading,
    rows: Sequence[Row],
    anchors: Anchors,
    row_vectors: Vectors,
    *,
    image_id: str,
    receipt_id: int,
    memory: MerchantMemory | None,
    similarity: TextSimilarity,
) -> Merchant:
    """Decide who issued a receipt.

    Args:
        reading: what OCR found.
        rows: its visual rows, topmost first.
        anchors: what was found in the rows.
        row_vectors: float32, shape (len(rows), dimension); row i's vector as its record has it.
        image_id: this receipt's image; its own records never count as memory.
        receipt_id: which receipt on the image.
        memory: earlier receipts, or None when there are none.
        similarity: compares texts that OCR may have garbled.

    Returns:
        The merchant; one with an empty name and source ``none`` when nothing was found.
    """
    receipt = _Receipt(rows, anchors, name_from_top(reading, rows))
    named = _from_top(receipt)
    queries = _queries(receipt, row_vectors) if memory is not None else []
    if memory is not None and queries:
        answers = memory.nearest(queries, CANDIDATES_PER_QUERY)
        others = [_of_others(answer, image_id, receipt_id) for answer in answers]
        named = _from_memory(receipt, queries, others, similarity) or named
    return _with_facts(named, anchors)


def _from_top(receipt: _Receipt) -> Merchant:
    own = receipt.own_name
    if own is None:
        return Merchant("", 0.0, "none", explanation="Nothing at the top could be a name.")
    words = f"The top of the receipt: {own.reason}."
    return Merchant(merchant_name(own.text), own.confidence, "top-lines", explanation=words)


def _with_facts(merchant: Merchant, anchors: Anchors) -> Merchant:
    return replace(
        merchant,
        phone=anchors.phones[0].digits if anchors.phones else "",
        address=anchors.address.normalized if anchors.address is not None else "",
        date=anchors.date.iso if anchors.date is not None else "",
        total=str(anchors.total.value) if anchors.total is not None else "",
    )


# --- asking memory ----------------------------------------------------------------------------


def _queries(receipt: _Receipt, row_vectors: Vectors) -> list[MemoryQuery]:
    asked: list[MemoryQuery] = []
    for phone in receipt.anchors.phones[:1]:
        asked += _row_queries("phone", receipt.rows, row_vectors, phone.spans, phone.digits)
    if receipt.anchors.address is not None:
        spans = receipt.anchors.address.spans
        asked += _row_queries("address", receipt.rows, row_vectors, spans)[:_ADDRESS_ROWS_ASKED]
    if receipt.own_name is not None:
        spans = tuple(Span(line_id, ()) for line_id in receipt.own_name.line_ids)
        return asked + _row_queries("text", receipt.rows, row_vectors, spans)
    top = list(zip(receipt.rows, row_vectors, strict=True))[:_TOP_ROWS_WITHOUT_NAME]
    return asked + [MemoryQuery("text", row.text, vector) for row, vector in top]


def _row_queries(
    kind: QueryKind,
    rows: Sequence[Row],
    row_vectors: Vectors,
    spans: Sequence[Span],
    phone: str = "",
) -> list[MemoryQuery]:
    wanted = {span.line_id for span in spans}
    return [
        MemoryQuery(kind, row.text, vector, phone)
        for row, vector in zip(rows, row_vectors, strict=True)
        if any(line.line_id in wanted for line in row.lines)
    ]


def _of_others(
    candidates: Sequence[MemoryCandidate], image_id: str, receipt_id: int
) -> list[MemoryCandidate]:
    """Keep named rows of other receipts; a name that was itself a guess teaches nothing."""
    return [
        candidate
        for candidate in candidates
        if candidate.merchant_name
        and (candidate.image_id, candidate.receipt_id) != (image_id, receipt_id)
        and _taught_with(candidate) >= _TEACHES_FROM_CONFIDENCE
    ]


def _taught_with(candidate: MemoryCandidate) -> float:
    confidence = candidate.metadata.get("merchant_confidence", 1.0)
    return float(confidence) if isinstance(confidence, int | float) else 0.0


# --- judging what memory answered -------------------------------------------------------------


def _from_memory(
    receipt: _Receipt,
    queries: Sequence[MemoryQuery],
    answers: Sequence[Sequence[MemoryCandidate]],
    similarity: TextSimilarity,
) -> Merchant | None:
    judge = _Judge(receipt, similarity)
    for kind in _SOURCES:
        found = [
            candidate
            for query, answer in zip(queries, answers, strict=True)
            if query.kind == kind
            for candidate in answer
        ]
        hits = [hit for candidate in found for hit in judge.hits(kind, candidate)]
        if hits:
            return _elected(receipt, kind, hits, similarity)
    return None


class _Judge:
    """Decides which remembered rows speak of this receipt's merchant, and how surely."""

    def __init__(self, receipt: _Receipt, similarity: TextSimilarity) -> None:
        self._receipt = receipt
        self._similarity = similarity
        self._text = receipt.text.casefold()
        self._tokens = set(re.findall(r"[^\W_]{3,}", self._text))

    def hits(self, kind: QueryKind, candidate: MemoryCandidate) -> list[_Hit]:
        phone, address = self._equal_phone(candidate), self._similar_address(candidate)
        confidence = candidate.similarity
        confidence += BOOST_EQUAL_PHONE * phone + BOOST_SIMILAR_ADDRESS * address
        if kind == "text":
            accepted = self._same_name(candidate.merchant_name)
            confidence = max(confidence, self._name_ratio(candidate.merchant_name))
            accepted = accepted and confidence >= MIN_CONFIDENCE_TEXT
        else:
            evidence = phone if kind == "phone" else address
            accepted = evidence and self._plausible(candidate.merchant_name)
            accepted = accepted and confidence >= MIN_CONFIDENCE_ANCHOR
        return [_Hit(candidate, min(1.0, confidence))] if accepted else []

    def _equal_phone(self, candidate: MemoryCandidate) -> bool:
        keys = ("normalized_phone", "normalized_phone_10")
        stored = [str(candidate.metadata.get(key, "")) for key in keys]
        own = [phone.digits for phone in self._receipt.anchors.phones]
        return any(same_phone(one, other) for one in own for other in stored if one and other)

    def _similar_address(self, candidate: MemoryCandidate) -> bool:
        stored = str(candidate.metadata.get("normalized_full_address", "")).replace(" ", "")
        own = self._receipt.anchors.address
        if own is None or not stored:
            return False
        return self._similarity.ratio(own.normalized.replace(" ", ""), stored) >= _SIMILAR_ADDRESS

    def _plausible(self, name: str) -> bool:
        """Ask for a distinctive word of the name in the text; one-word names are often logos."""
        words = re.findall(r"[^\W_]+", name.casefold())
        return len(words) < 2 or self._shares_token(words)  # noqa: PLR2004

    def _shares_token(self, words: Sequence[str]) -> bool:
        distinctive = [w for w in words if len(w) >= 3 and w not in _GENERIC_TOKENS]  # noqa: PLR2004
        return any(
            word in self._text
            or any(self._similarity.ratio(word, token) >= _SIMILAR_TOKEN for token in self._tokens)
            for word in distinctive
        )

    def _same_name(self, name: str) -> bool:
        """Hold a remembered name against the receipt's own, or else against its whole text."""
        own = self._receipt.trusted_name
        if own:
            same_digits = re.findall(r"\d+", own) == re.findall(r"\d+", name)
            return same_digits and self._name_ratio(name) >= _SIMILAR_NAME
        words = re.findall(r"[^\W_]+", name.casefold())
        in_text = self._similarity.partial_ratio(name.casefold(), self._text) >= _NAME_IN_TEXT
        return in_text and self._shares_token(words)

    def _name_ratio(self, name: str) -> float:
        own = self._receipt.trusted_name
        return self._similarity.ratio(_bare(own), _bare(name)) if own else 0.0


def _elected(
    receipt: _Receipt, kind: QueryKind, hits: Sequence[_Hit], similarity: TextSimilarity
) -> Merchant:
    """Let the receipts that agree vote on the spelling; this receipt's own reading breaks ties.

    Without its own vote, one garbled name would be handed on to every later receipt.
    """
    best_by_receipt: dict[tuple[str, int], _Hit] = {}
    for hit in sorted(hits, key=lambda hit: (hit.confidence, hit.candidate.id)):
        best_by_receipt[(hit.candidate.image_id, hit.candidate.receipt_id)] = hit
    votes = Counter(hit.candidate.merchant_name for hit in best_by_receipt.values())
    best = max(best_by_receipt.values(), key=lambda hit: _rank(hit, votes))
    name = best.candidate.merchant_name
    own = merchant_name(receipt.trusted_name)
    alike = bool(own) and similarity.ratio(_bare(own), _bare(name)) >= _SIMILAR_NAME
    if alike and votes[own] + 1 >= votes[name]:
        name = own
    evidence = {"phone": "this phone", "address": "this address", "text": "this name"}[kind]
    count = len(best_by_receipt)
    words = f"{count} earlier receipt(s) with {evidence}; {name!r} is the usual spelling."
    return Merchant(name, round(best.confidence, 4), _SOURCES[kind], explanation=words)


def _rank(hit: _Hit, votes: Counter[str]) -> tuple[int, float, str]:
    return votes[hit.candidate.merchant_name], hit.confidence, hit.candidate.id


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())
