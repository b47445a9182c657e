"""Dates: a line's text -> the first date in it, as ISO, with the rule that read it.

Rules:

``year-first``        2018/02/22: the year leads, so the month follows.
``month-name``        15 JUN 18: the month is a word.
``day-first``         22-04-16: the first number is above 12.
``month-first``       04/29/2013: the second number is above 12.
``month-first-by-region``  both fit; the receipt is American.
``day-first-by-region``    both fit; the receipt is not American.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

Region: TypeAlias = Literal["us", "elsewhere"]

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MONTHS_PER_YEAR = 12
_FIRST_YEAR, _LAST_YEAR = 1990, 2099
_CENTURY = 2000
_TWO_DIGITS = 100

_NAME = "(?P<name>" + "|".join(_MONTHS) + ")[A-Z]*"
_YEAR_FIRST = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d{2})\s?[/.-]\s?(?P<first>\d{1,2})\s?[/.-]\s?(?P<second>[0-3]?\d)"
)
_DAY_NAME_YEAR = re.compile(
    rf"(?<!\d)(?P<first>\d{{1,2}})[\s.,/-]*{_NAME}[\s.,'/-]*(?P<year>\d{{4}}|\d{{2}})(?!\d)",
    re.IGNORECASE,
)
_NAME_DAY_YEAR = re.compile(
    rf"\b{_NAME}[\s.,/-]*(?P<first>\d{{1,2}})(?:ST|ND|RD|TH)?[\s.,'/-]+(?P<year>\d{{4}}|\d{{2}})(?!\d)",
    re.IGNORECASE,
)
_NUMBERS = re.compile(
    r"(?<![\d./-])(?P<first>\d{1,2})\s?,?(?P<mark>[/.-])\s?(?P<second>\d{1,2})\s?(?P=mark)\s?"
    r"(?P<year>(?:19|20)\d{2}|\d{2}(?!\d))"
)


@dataclass(frozen=True, slots=True)
class FoundDate:
    """A date between two positions of a text."""

    start: int
    end: int
    iso: str
    rule: str


def date_in(text: str, region: Region) -> FoundDate | None:
    """Find the first date in a text.

    Args:
        text: one line.
        region: settles 03/04/2018; see the module's rules.

    Returns:
        The date, or None when the text has none that exists in the calendar between 1990
        and 2099.
    """
    for pattern in (_YEAR_FIRST, _DAY_NAME_YEAR, _NAME_DAY_YEAR, _NUMBERS):
        for found in pattern.finditer(text):
            year = int(found["year"])
            year += _CENTURY if year < _TWO_DIGITS else 0
            day, month, rule = _day_and_month(found, region)
            iso = _iso(year, month, day)
            if iso:
                return FoundDate(*found.span(), iso, rule)
    return None


def _day_and_month(found: re.Match[str], region: Region) -> tuple[int, int, str]:
    first = int(found["first"])
    if found.re in (_DAY_NAME_YEAR, _NAME_DAY_YEAR):
        return first, _MONTHS.index(found["name"].upper()) + 1, "month-name"
    second = int(found["second"])
    if found.re is _YEAR_FIRST:
        return second, first, "year-first"
    if first > _MONTHS_PER_YEAR:
        return first, second, "day-first"
    if second > _MONTHS_PER_YEAR:
        return second, first, "month-first"
    if region == "us":
        return second, first, "month-first-by-region"
    return first, second, "day-first-by-region"


def _iso(year: int, month: int, day: int) -> str:
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return ""
    try:
        return dt.date(year, month, day).isoformat()
    except ValueError:
        return ""
