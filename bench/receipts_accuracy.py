"""Scores of receipt reading: truth and what was read -> error rates, recalls, right or wrong.

Definitions are those of the measurements the engines were chosen by. Pure: plain data in,
numbers out; who reads images and files is somebody else.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

MERCHANT_RATIO_PERCENT = 90.0

_SAME_ROW = 0.4
_COMPANY_SUFFIXES = frozenset({"sdn", "bhd", "sdnbhd", "ltd", "inc", "co"})


@dataclass(frozen=True, slots=True)
class BoxedText:
    """A line of text in an image: its corners in pixels, y growing **downward**."""

    text: str
    left_px: float
    top_px: float
    right_px: float
    bottom_px: float


def plain_characters(text: str) -> str:
    """Give the characters that count: NFKC, casefolded, without white space."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


@dataclass(frozen=True, slots=True)
class RowPair:
    """A row of the truth and what was read in its place, as characters that count.

    Attributes:
        truth: the truth row's characters, from left to right.
        truth_lines: the same, line by line.
        read: the characters of all lines read there, from left to right.
    """

    truth: str
    truth_lines: tuple[str, ...]
    read: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Truth and reading side by side.

    Attributes:
        pairs: one per row of the truth, topmost first.
        surplus_characters: what was read where the truth has nothing: stamps, handwriting,
            noise. Truths leave such things out, so they are counted on their own.
    """

    pairs: tuple[RowPair, ...]
    surplus_characters: int

    @property
    def character_error_rate(self) -> float:
        """Give the edits from truth to reading per truth character; 0 for an empty truth."""
        edits = sum(Levenshtein.distance(pair.truth, pair.read) for pair in self.pairs)
        characters = sum(len(pair.truth) for pair in self.pairs)
        return edits / characters if characters else 0.0

    @property
    def exact_lines(self) -> float:
        """Give the share of truth lines that stand unbroken in what was read in their row."""
        found = [line in pair.read for pair in self.pairs for line in pair.truth_lines]
        return sum(found) / len(found) if found else 1.0


def compare(truth: Sequence[BoxedText], read: Sequence[BoxedText]) -> Comparison:
    """Put what was read beside the truth, row by row.

    The truth's lines form rows by y; each line that was read joins the row it overlaps most;
    rows are read by x. So neither side's order can differ for reasons other than characters,
    and a label and its amount may be one line or two.
    """
    truth_rows = _rows(truth)
    read_rows: list[list[BoxedText]] = [[] for _ in truth_rows]
    surplus = 0
    for line in read:
        overlaps = [sum(_overlap_px2(line, other) for other in row) for row in truth_rows]
        if overlaps and max(overlaps) > 0:
            read_rows[overlaps.index(max(overlaps))].append(line)
        else:
            surplus += len(plain_characters(line.text))
    pairs = zip(map(_left_to_right, truth_rows), map(_left_to_right, read_rows), strict=True)
    return Comparison(
        tuple(RowPair("".join(one), one, "".join(other)) for one, other in pairs), surplus
    )


def page_error_rate(truth: Sequence[BoxedText], read: Sequence[BoxedText]) -> float:
    """Give the edits per truth character over the whole page.

    Both sides are sorted by y into rows and by x within them, each by its own boxes, so a row
    that one side has in another place counts as edits, and so does surplus text.
    """
    expected, got = (
        "".join("".join(_left_to_right(row)) for row in _rows(side)) for side in (truth, read)
    )
    return Levenshtein.distance(expected, got) / len(expected) if expected else 0.0


def word_recall(truth: Iterable[str], read: Iterable[str]) -> float:
    """Give the share of truth words that were read, each used once.

    For truths that keep spaces (SROIE). Words are casefolded and stripped of punctuation.
    """
    expected, got = Counter(_words(truth)), Counter(_words(read))
    return (expected & got).total() / expected.total() if expected else 1.0


def merchant_is_right(truth: str, read: str) -> bool:
    """Tell whether two names mean one merchant: 90 % alike without suffixes and punctuation."""
    return fuzz.ratio(_bare_merchant(truth), _bare_merchant(read)) >= MERCHANT_RATIO_PERCENT


def _rows(lines: Sequence[BoxedText]) -> list[list[BoxedText]]:
    """Group lines whose centres differ little; no chains, so that tilt does not merge rows."""
    rows: list[list[BoxedText]] = []
    for line in sorted(lines, key=_centre_px):
        row = rows[-1] if rows else []
        if row and _centre_px(line) - fmean(map(_centre_px, row)) < _SAME_ROW * _height_px(row[0]):
            row.append(line)
        else:
            rows.append([line])
    return rows


def _centre_px(line: BoxedText) -> float:
    return (line.top_px + line.bottom_px) / 2


def _height_px(line: BoxedText) -> float:
    return line.bottom_px - line.top_px


def _left_to_right(row: Sequence[BoxedText]) -> tuple[str, ...]:
    ordered = sorted(row, key=lambda line: line.left_px)
    return tuple(plain_characters(line.text) for line in ordered)


def _overlap_px2(one: BoxedText, other: BoxedText) -> float:
    width_px = min(one.right_px, other.right_px) - max(one.left_px, other.left_px)
    height_px = min(one.bottom_px, other.bottom_px) - max(one.top_px, other.top_px)
    return max(0.0, width_px) * max(0.0, height_px)


def _words(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        for word in unicodedata.normalize("NFKC", text).casefold().split():
            bare = re.sub(r"[\W_]", "", word)
            if bare:
                yield bare


def _bare_merchant(name: str) -> str:
    tokens = re.findall(r"[^\W_]+", name.casefold())
    return "".join(token for token in tokens if token not in _COMPANY_SUFFIXES)
