"""What was tried, one thing at a time, and what became of it in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Way(StrEnum):
    """One way of doing what the incident was about; names are stable."""

    UPLOAD = "upload"
    FAST_COPY = "fast-copy"
    REPLICATE = "replicate"
    POINTER_PUT = "pointer-put"
    POINTER_SWAP = "pointer-swap"
    HALF_UPLOAD_POINTER_FIRST = "half-upload-pointer-first"
    HALF_UPLOAD_POINTER_LAST = "half-upload-pointer-last"
    HALF_PUSH = "half-push"

    @property
    def title(self) -> str:
        """Say it for people."""
        return _TITLES[self]

    @property
    def ours(self) -> bool:
        """Whether chromaseal does it like this."""
        return self in _OURS


_OURS: Final = frozenset({Way.REPLICATE, Way.POINTER_SWAP, Way.HALF_PUSH})
_TITLES: Final = {
    Way.UPLOAD: "old way: files uploaded one by one, at 50 MB/s, while they are written",
    Way.FAST_COPY: "old way: files copied as fast as the disk can, while they are written",
    Way.REPLICATE: "this way: chromaseal replicate, then pull",
    Way.POINTER_PUT: "old way: two compactors at once, each puts its pointer",
    Way.POINTER_SWAP: "this way: two compactors at once, compare-and-swap",
    Way.HALF_UPLOAD_POINTER_FIRST: "old way: an upload stops half-way, the pointer moved before",
    Way.HALF_UPLOAD_POINTER_LAST: "old way: an upload stops half-way, the pointer moves after",
    Way.HALF_PUSH: "this way: chromaseal push stops at each of its writes",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One copy, run or upload, and what became of it.

    Attributes:
        way: how it was done.
        number: which one of its way, from 1.
        bad: whether what came out is damaged or lacks anything.
        wrong: what is wrong, in a few words; the same words for the same kind of damage.
        evidence: the checks that failed.
        said: what ChromaDB says of it, in a few words.
        detail: the same with numbers.
    """

    way: Way
    number: int
    bad: bool
    wrong: str = ""
    evidence: str = ""
    said: str = ""
    detail: str = ""


@dataclass(slots=True)
class Summary:
    """All trials of one way.

    Attributes:
        way: which one.
        tried: how many.
        bad: how many came out bad.
        wrong: how often each kind of damage was found.
        said: how often ChromaDB said what.
    """

    way: Way
    tried: int = 0
    bad: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)


def summaries(trials: Iterable[Trial]) -> list[Summary]:
    """Add up the trials of each way, in the order of the ways."""
    found = {way: Summary(way) for way in Way}
    for trial in trials:
        summary = found[trial.way]
        summary.tried += 1
        summary.bad += trial.bad
        summary.wrong.update([trial.wrong] if trial.wrong else [])
        summary.said.update([trial.said] if trial.said else [])
    return [summary for summary in found.values() if summary.tried]
