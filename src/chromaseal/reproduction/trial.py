"""What was tried, one thing at a time, and what became of it in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    def words(self) -> str:
        """Say it for people."""
        return _WORDS[self]

    @property
    def ours(self) -> bool:
        """Whether chromaseal does it like this."""
        return self in _OURS


_OURS: Final = frozenset({Way.REPLICATE, Way.POINTER_SWAP, Way.HALF_PUSH})
_WORDS: Final = {
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


@dataclass(frozen=True, slots=True)
class Summary:
    """All trials of one way.

    Attributes:
        way: which one.
        tried: how many.
        bad: how many came out bad.
        wrong: how often each kind of damage was found.
        said: how often ChromaDB said what of those that are bad, or of all where none is.
    """

    way: Way
    tried: int
    bad: int
    wrong: Mapping[str, int]
    said: Mapping[str, int]


def summaries(trials: Iterable[Trial]) -> list[Summary]:
    """Add up the trials of each way, in the order of the ways."""
    by_way: dict[Way, list[Trial]] = {way: [] for way in Way}
    for trial in trials:
        by_way[trial.way].append(trial)
    return [_summary(way, found) for way, found in by_way.items() if found]


def _summary(way: Way, trials: list[Trial]) -> Summary:
    bad = [trial for trial in trials if trial.bad]
    return Summary(
        way,
        tried=len(trials),
        bad=len(bad),
        wrong=dict(Counter(trial.wrong for trial in bad).most_common()),
        said=dict(Counter(trial.said for trial in bad or trials).most_common()),
    )
