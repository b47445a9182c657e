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
