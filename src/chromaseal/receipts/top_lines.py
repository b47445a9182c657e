"""The merchant's name from a receipt's own top: reading and rows -> the most likely name.

The top is where y is **largest**. Every segment of the header that could be a name is weighed
by what people go by: a company form such as SDN BHD, a trade word such as RESTAURANT, a
registration number beside it, large letters, standing first, and standing above the address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from chromaseal.receipts.dates import date_in
from chromaseal.receipts.line_kinds import (
    has_time,
    is_address,
    is_heading,
    is_labelled_detail,
    is_owner_label,
    is_sentence,
)
from chromaseal.receipts.model import Line, Reading
from chromaseal.receipts.rows import Row

HEADER_ROWS = 12

_POINTS_PER_RANK = -0.08
_POINTS_COMPANY_FORM = 0.8
_POINTS_TRADE_WORD = 0.35
_POINTS_REGISTERED = 0.3
_POINTS_DOUBLE_HEIGHT = 0.6
_POINTS_BELOW_ADDRESS = -0.7
_POINTS_OWNER = -0.6
_MIN_LETTERS = 3
_MIN_OCR_CONFIDENCE = 0.6

_COMPANY_FORM = re.compile(
    r"(?:\bS[DO]N\W{0,3}[B8]H[DO]|\b[S5]/B|\bSB|\bBHD|\bBERHAD|\bLTD|\bLIMITED|\bLLC|\bLLP|\bINC"
    r"|\bPLC|\bPTE|\bPTY|\bCORP(?:ORATION)?|\bCO|\bCOMPANY|\bGMBH|\bS\.?A\.?R\.?L|\bS\.L|\bS\.A"
    r"|\bENTERPRISES?|\bTRADING|\bHOLDINGS?|\bRESOURCES|\bVENTURES?)\b\W{0,3}",
    re.IGNORECASE,
)
_TRADE_WORD = re.compile(
    r"(?:RESTAURAN?TE?|RESTORAN|RISTORANTE|CAFE|CAFÉ|KAFE|KOPITIAM|COFFEE|DINER|GRILL|BISTRO|BAKER(?:Y|IES)|BAKERY"
    r"|KITCHEN|HOTEL|PHARMACY|FARMASI|CLINIC|KLINIK|STORES?|SHOP|KEDAI|MARKET|MART|SUPERMARKETS?"
    r"|HYPERMARKET|BOOKS(?:TORE)?|STATIONERY|HARDWARE|ELECTRICAL|FASHION|OPTICAL|JEWELLERS|SYARIKAT"
    r"|PERNIAGAAN|INDUSTRIES|DISTRIBUTION|RETAIL|FOODS?|PETROL|STATION|SERVICES?|CENTRE|CENTER)\b",
    re.IGNORECASE,
)
_REGISTRATION = re.compile(
    r"\s*(?:[\[({]\s*[A-Z]{0,3}\s?-?(?=(?:[^\d]*\d){4})[\d\s-]+[A-Z]?\s*[\])}]?"
    r"|(?:CO|COMPANY|REG)\W{0,3}(?:REG|NO)\b[\W]*\d{4,}.*"
    r"|(?<!\d)\d{5,}\s?-?\s?[A-Z]\b)",
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"\d[.,]\d{2}(?!\d)")
_WEB = re.compile(r"@\w|www\.|https?:|\.(?:com|net|org)\b", re.IGNORECASE)
_HOURS = re.compile(r"\bH(?:OU)?RS\b|\b(?:MON|TUE|WED|THU|FRI|SAT|SUN)\s?-", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TopName:
    """A name read off the top.

    Attributes:
        text: the name as printed, without its registration number.
        confidence: 0..1; how sure it is that this is the merchant and well read.
        line_ids: the lines it was read from.
        reason: why it was chosen, for people.
    """

    text: str
    confidence: float
    line_ids: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class _Segment:
    """Text that stands together: a line, or neighbours in a row set alike."""

    text: str
    height_px: float
    confidence: float
    line_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a segment stands in the header."""

    below_address: bool
    after_owner_label: bool
    registered: bool


def name_from_top(reading: Reading, rows: Sequence[Row]) -> TopName | None:
    """Read the merchant's name off the top of a receipt.

    Args:
        reading: what OCR found.
        rows: its visual rows, topmost first.

    Returns:
        The best candidate of the header, or None when nothing there could be a name.
    """
    heights_px = [_height_px(line, reading) for line in reading.lines]
    if not heights_px:
        return None
    segments = list(_segments(reading, rows[:HEADER_ROWS]))
    places = _places(segments)
    joined = _join_continued(list(zip(segments, places, strict=True)))
    candidates = [(segment, place) for segment, place in joined if _could_be_name(segment)]
    weighed = [
        (*_weigh(rank, segment, place, median(heights_px)), segment)
        for rank, (segment, place) in enumerate(candidates)
    ]
    if not weighed:
        return None
    points, reason, best = max(weighed, key=lambda entry: entry[0])
    confidence = min(0.95, max(0.05, 0.1 + 0.4 * points)) * best.confidence
    return TopName(_clean(best.text), round(confidence, 4), best.line_ids, reason)


def _height_px(line: Line, reading: Reading) -> float:
    """Measure a line's letters along its own upright, so that tilt does not add to them."""
    top, bottom = line.quad.top_left, line.quad.bottom_left
    dx_px = (top.x - bottom.x) * reading.width_px
    dy_px = (top.y - bottom.y) * reading.height_px
    return float((dx_px**2 + dy_px**2) ** 0.5)


# --- what stands together ---------------------------------------------------------------------


def _segments(reading: Reading, rows: Sequence[Row]) -> Iterator[_Segment]:
    for row in rows:
        group: list[Line] = []
        for line in row.lines:
            if group and not _set_alike(group[-1], line, reading):
                yield _segment(group, reading)
                group = []
            group.append(line)
        if group:
            yield _segment(group, reading)


def _set_alike(left: Line, right: Line, reading: Reading) -> bool:
    """Tell whether two lines of a row are one text: same size, same height, a small gap."""
    left_px, right_px = _height_px(left, reading), _height_px(right, reading)
    larger_px = max(left_px, right_px)
    one, other = left.quad.box(), right.quad.box()
    gap_px = (other.x - one.x - one.width) * reading.width_px
    dy_px = abs(left.quad.centroid().y - right.quad.centroid().y) * reading.height_px
    return (
        min(left_px, right_px) > 0.6 * larger_px
        and abs(gap_px) < 1.5 * larger_px
        and dy_px < larger_px / 2
    )


def _segment(lines: Sequence[Line], reading: Reading) -> _Segment:
    return _Segment(
        text=" ".join(line.text.strip() for line in lines),
        height_px=max(_height_px(line, reading) for line in lines),
        confidence=sum(line.confidence for line in lines) / len(lines),
        line_ids=tuple(line.line_id for line in lines),
    )


def _places(segments: Sequence[_Segment]) -> list[_Place]:
    places = []
    below_address = after_owner_label = False
    for segment, below in zip(segments, [*segments[1:], None], strict=True):
        registered = _REGISTRATION.search(segment.text) is not None or (
            below is not None and _is_registration_only(below.text)
        )
        places.append(_Place(below_address, after_owner_label, registered))
        form = _COMPANY_FORM.search(segment.text)
        below_address = below_address or (is_address(segment.text) and form is None)
        after_owner_label = is_owner_label(segment.text)
    return places


def _is_registration_only(text: str) -> bool:
    rest = re.sub(r"[\W\d_]", "", _REGISTRATION.sub("", text))
    return _REGISTRATION.search(text) is not None and len(rest) < _MIN_LETTERS


def _join_continued(
    entries: Sequence[tuple[_Segment, _Place]],
) -> list[tuple[_Segment, _Place]]:
    """Join a name that runs over two lines: the second has its company form and little else."""
    joined: list[tuple[_Segment, _Place]] = []
    for segment, place in entries:
        if joined and _continues(joined[-1][0], segment):
            above = joined.pop()[0]
            segment = _Segment(  # noqa: PLW2901 - the pair stands in the second's place
                f"{above.text} {segment.text}",
                max(above.height_px, segment.height_px),
                (above.confidence + segment.confidence) / 2,
                above.line_ids + segment.line_ids,
            )
        joined.append((segment, place))
    return joined


def _continues(above: _Segment, segment: _Segment) -> bool:
    form = _COMPANY_FORM.search(segment.text)
    if form is None or not _could_be_name(above) or _COMPANY_FORM.search(above.text):
        return False
    words = re.findall(r"[^\W\d_]{2,}", _COMPANY_FORM.sub("", _clean(segment.text)))
    same_size = abs(above.height_px - segment.height_px) < 0.15 * segment.height_px
    return not words or (len(words) == 1 and same_size and not _TRADE_WORD.search(above.text))


# --- what could be a name, and how likely -----------------------------------------------------


def _could_be_name(segment: _Segment) -> bool:
    text = _clean(segment.text)
    letters = sum(character.isalpha() for character in text)
    digits = sum(character.isdigit() for character in text)
    if letters < _MIN_LETTERS or segment.confidence < _MIN_OCR_CONFIDENCE:
        return False
    if is_heading(text) or is_owner_label(text) or _AMOUNT.search(text) or _WEB.search(text):
        return False
    if _COMPANY_FORM.search(text):
        return True
    other_kinds = (is_address, is_labelled_detail, is_sentence, has_time, _HOURS.search)
    return digits <= letters and not any(kind(text) for kind in other_kinds) and not _dated(text)


def _dated(text: str) -> bool:
    return date_in(text, "elsewhere") is not None


def _weigh(rank: int, segment: _Segment, place: _Place, usual_px: float) -> tuple[float, str]:
    larger = min(1.0, max(0.0, segment.height_px / usual_px - 1.0)) if usual_px > 0 else 0.0
    grounds = [
        (1.0 + _POINTS_PER_RANK * rank, f"number {rank + 1} from the top"),
        (_POINTS_COMPANY_FORM * _holds(_COMPANY_FORM, segment), "a company form"),
        (_POINTS_TRADE_WORD * _holds(_TRADE_WORD, segment), "a trade word"),
        (_POINTS_REGISTERED * place.registered, "a registration number"),
        (_POINTS_DOUBLE_HEIGHT * larger, "large letters"),
        (_POINTS_BELOW_ADDRESS * place.below_address, "below the address"),
        (_POINTS_OWNER * place.after_owner_label, "named as the owner"),
    ]
    points = sum(value for value, _ in grounds)
    return points, ", ".join(name for value, name in grounds if abs(value) > 0)


def _holds(pattern: re.Pattern[str], segment: _Segment) -> bool:
    return pattern.search(_clean(segment.text)) is not None


def _clean(text: str) -> str:
    """Cut a name at its registration number and mend the company form that OCR garbles most."""
    registration = _REGISTRATION.search(text)
    if registration is not None and registration.start() > 0:
        text = text[: registration.start()]
    text = re.sub(r"\b5/B\b", "S/B", text)
    return re.sub(r"^[\W_]+|[\s,;:~*=_<>«»《》-]+$", "", " ".join(text.split()))
