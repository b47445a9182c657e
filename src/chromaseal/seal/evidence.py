"""What sealing and verifying leave behind: plain data that manifests carry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the directory; ``digest`` is over the digests of its pages."""

    path: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class CheckEntry:
    """One check that the version passed before it was published."""

    name: str
    evidence: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class RecordSummary:
    """How many records there are, and the multiset hash over them."""

    count: int
    multiset: str


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """One ChromaDB collection of the directory.

    Attributes:
        name: of the collection.
        records: count and multiset hash of its records.
        dimension: numbers per vector; None before its first record.
        space: ``l2``, ``cosine`` or ``ip``.
    """

    name: str
    records: RecordSummary
    dimension: int | None
    space: str
