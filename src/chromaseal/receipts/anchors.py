"""Anchors: rows -> the phone numbers, address, URLs, date, amounts and total in them.

Each anchor points to the lines and words it was read from, so that their records can carry its
normal form. The patterns expect the noise of OCR: ``Te1``, ``T0TAL``, glued labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal

from chromaseal.receipts.dates import Region, date_in
from chromaseal.receipts.line_kinds import is_address, is_labelled_detail, postcode_country
from chromaseal.receipts.model import Line
from chromaseal.receipts.normalisers import (
    normalize_address,
    normalize_phone,
    normalize_phone_10,
    normalize_url,
)
from chromaseal.receipts.rows import Row


@dataclass(frozen=True, slots=True)
class Span:
    """Where an anchor was read: a line and those of its words that it touches."""

    line_id: int
    word_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone number.

    Attributes:
        text: as printed.
        digits: its 7 to 15 digits.
        us_digits: its ten digits if it is a North American number, else "".
        spans: where it stands.
    """

    text: str
    digits: str
    us_digits: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address: the rows' texts joined by a space, and its normal form."""

    text: str
    normalized: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Url:
    """A web address as printed and its normal form."""

    text: str
    normalized: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class PrintedDate:
    """A date.

    Attributes:
        text: as printed.
        iso: ``YYYY-MM-DD``.
        rule: how day and month were told apart, one of ``chromaseal.receipts.dates``' rules.
        spans: where it stands.
    """

    text: str
    iso: str
    rule: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of money with two decimals; negative when printed so or in parentheses."""

    text: str
    value: Decimal
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Anchors:
    """Everything found on one receipt, each kind from the top of the receipt downward."""

    phones: tuple[Phone, ...] = ()
    address: Address | None = None
    urls: tuple[Url, ...] = ()
    date: PrintedDate | None = None
    amounts: tuple[Amount, ...] = ()
    total: Amount | None = None

    def metadata_of_lines(self, line_ids: AbstractSet[int]) -> dict[str, str]:
        """Give the normal forms that the record of a row with these lines carries."""
        return self._metadata(lambda span: span.line_id in line_ids)

    def metadata_of_word(self, line_id: int, word_id: int) -> dict[str, str]:
        """Give the normal forms that a word's record carries."""
        return self._metadata(lambda span: span.line_id == line_id and word_id in span.word_ids)

    def _metadata(self, touches: Callable[[Span], bool]) -> dict[str, str]:
        """Where two anchors of a kind touch, the upper one counts."""
        found: dict[str, str] = {}
        for spans, forms in self._forms():
            if any(touches(span) for span in spans):
                found = {key: form for key, form in forms.items() if form} | found
        return found

    def _forms(self) -> Iterator[tuple[tuple[Span, ...], dict[str, str]]]:
        for phone in self.phones:
            forms = {"normalized_phone_10": phone.us_digits, "normalized_phone": phone.digits}
            yield phone.spans, forms
        if self.address is not None:
            yield self.address.spans, {"normalized_full_address": self.address.normalized}
        for url in self.urls:
            yield url.spans, {"normalized_url": url.normalized}


def find_anchors(rows: Sequence[Row]) -> Anchors:
    """Find a receipt's anchors.

    Args:
        rows: the receipt's visual rows, topmost first.

    Returns:
        What was found. The address is the first block of address rows; the date the first that
        is one; the total the amount beside the label that most surely means the total.
    """
    lines = [line for row in rows for line in row.lines]
    phones = tuple(phone for line in lines for phone in _phones(line))
    address = _address(rows)
    return Anchors(
        phones=phones,
        address=address,
        urls=tuple(url for line in lines for url in _urls(line)),
        date=_date(rows, _region(phones, address)),
        amounts=tuple(amount for line in lines for amount in _amounts(line)),
        total=_total(rows),
    )


# --- where a match stands ---------------------------------------------------------------------


def _span(line: Line, start: int, end: int) -> Span:
    """Find the words between two positions of the line's text."""
    touched: list[int] = []
    cursor = 0
    for word in line.words:
        at = line.text.find(word.text, cursor)
        if at < 0:
            continue
        cursor = at + len(word.text)
        if at < end and cursor > start:
            touched.append(word.word_id)
    return Span(line.line_id, tuple(touched))


def _whole_line(line: Line) -> Span:
    return Span(line.line_id, tuple(word.word_id for word in line.words))


# --- phone numbers ----------------------------------------------------------------------------

_PHONE_LABEL = r"(?:\bT[E3][L1I]F?|PHONE|\bPH|\bH/?P\b|MOBILE|WHATSAPPS?|CONTACT|HOTLINE|CARELINE)"
_LABELLED_PHONE = re.compile(
    _PHONE_LABEL + r"[\s.:;()/#A-Z-]{0,14}?(?P<number>\+?\(?\d[\d ().-]{5,17}\d)", re.IGNORECASE
)
_BARE_PHONE = re.compile(
    r"(?<![\d/.-])(?P<number>"
    r"\+\d{1,3}[ .-]?\(?\d{1,4}\)?[ .-]?\d{3,4}[ .-]?\d{3,4}"
    r"|(?:1[ .-])?\(\d{3}\) ?\d{3}[ .-]?\d{4}"
    r"|(?:1[ .-])?\d{3}[.-]\d{3}[.-]\d{4}"
    r"|0\d{1,2}[ -]\d{3,4} ?\d{4}"
    r"|1[ -]?800[ -]\d{2,3}[ -]?\d{4}"
    r")(?![\d.])"
)
_NOT_A_PHONE = re.compile(
    r"\b(?:FAX|GST|TAX|VAT|REG|INV(?:OICE)?|BILL|DOC|TICKET|ORDER)\b[^A-Z]*$", re.IGNORECASE
)


def _phones(line: Line) -> Iterator[Phone]:
    taken = 0
    for found in _phone_matches(line.text):
        start, end = found.span("number")
        digits = normalize_phone(found["number"])
        fax = _NOT_A_PHONE.search(line.text[: found.start()] if taken else line.text[:start])
        if start < taken or not digits or fax:
            continue
        taken = end
        text = found["number"].strip()
        yield Phone(text, digits, normalize_phone_10(text), (_span(line, start, end),))


def _phone_matches(text: str) -> list[re.Match[str]]:
    matches = [*_LABELLED_PHONE.finditer(text), *_BARE_PHONE.finditer(text)]
    return sorted(matches, key=lambda found: found.start("number"))


# --- web addresses ----------------------------------------------------------------------------

_URL = re.compile(
    r"(?<![\w@.-])(?:https?://[^\s,;]+|www\.[^\s,;]+"
    r"|(?:[a-z0-9-]{2,}\.)+(?:com|net|org|biz|info|shop|store|co|my|sg|uk|us|ca|au|de|fr|es)"
    r"(?:\.[a-z]{2})?(?:/[^\s,;]*)?)(?![\w@])",
    re.IGNORECASE,
)


def _urls(line: Line) -> Iterator[Url]:
    for found in _URL.finditer(line.text):
        text = found.group().rstrip(".,:)")
        normalized = normalize_url(text)
        if "." in normalized:
            yield Url(text, normalized, (_span(line, *found.span()),))


# --- address ----------------------------------------------------------------------------------

_MAX_ADDRESS_ROWS = 6
_ITEM_CODE = re.compile(r"\s*\d{5}\D")  # a postcode with a town stands below a street
_MIN_LETTERS = 2


def _address(rows: Sequence[Row]) -> Address | None:
    first = next((i for i, row in enumerate(rows) if is_address(row.text)), None)
    if first is None:
        return None
    block = _address_block(rows[first:])
    if len(block) == 1 and _ITEM_CODE.match(block[0].text):
        return None
    lines = [line for row in block for line in row.lines]
    lines = [line for line in lines if sum(c.isalpha() for c in line.text) >= _MIN_LETTERS]
    text = " ".join(line.text for line in lines)
    return Address(text, normalize_address(text), tuple(_whole_line(line) for line in lines))


def _address_block(rows: Sequence[Row]) -> list[Row]:
    """Take address rows from the first one on, and plain rows between two of them."""
    block = [rows[0]]
    for row, below in zip(rows[1:_MAX_ADDRESS_ROWS], [*rows[2:], None], strict=False):
        if is_labelled_detail(row.text):
            break
        bridges = below is not None and is_address(below.text)
        continues = block[-1].text.rstrip().endswith(",")
        if not (is_address(row.text) or bridges or continues):
            break
        block.append(row)
    return block


# --- date -------------------------------------------------------------------------------------


def _region(phones: Sequence[Phone], address: Address | None) -> Region:
    """Take the receipt for American where a ZIP code says so, or a phone and no address does."""
    country = postcode_country(address.text) if address is not None else ""
    if country:
        return "us" if country == "us" else "elsewhere"
    us_phone = any(phone.us_digits and not phone.digits.startswith("0") for phone in phones)
    return "us" if us_phone else "elsewhere"


def _date(rows: Sequence[Row], region: Region) -> PrintedDate | None:
    for line in (line for row in rows for line in row.lines):
        found = date_in(line.text, region)
        if found is not None:
            spans = (_span(line, found.start, found.end),)
            return PrintedDate(line.text[found.start : found.end], found.iso, found.rule, spans)
    return None


# --- amounts and the total --------------------------------------------------------------------

_AMOUNT = re.compile(
    r"(?<![\d.,/-])(?P<open>\()?(?P<minus>-)?\s?(?:RM|MYR|USD|EUR|GBP|[$£€])?\s?(?P<minus2>-)?"
    r"(?P<whole>\d{1,3}(?:[, ]\d{3})+|\d{1,7})\s?[.,]\s?(?P<cents>\d{2})(?![\d%]|\s?%|[.,/-]\d)",
    re.IGNORECASE,
)


def _amounts(line: Line) -> Iterator[Amount]:
    for found in _AMOUNT.finditer(line.text):
        whole = re.sub(r"\D", "", found["whole"])
        negative = found["open"] or found["minus"] or found["minus2"]
        value = Decimal(f"{'-' if negative else ''}{whole}.{found['cents']}")
        yield Amount(found.group().strip(), value, (_span(line, *found.span()),))


_TOTAL = r"T[O0]TA[L1I]"
_NOT_THE_TOTAL = re.compile(
    r"SUB[\s-]*T|QTY|QUANTIT|ITEM|DISC|SAVING|POINT|CHANGE|EXC|BEFORE|WITHOUT|INCLUDED IN"
    rf"|{_TOTAL}\s*(?:G[S$5]T|TAX|VAT|SST|PAID|TENDER|CASH)\b|(?:GST|TAX|VAT)\s*{_TOTAL}",
    re.IGNORECASE,
)
_LABELS_SUREST_FIRST = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"ROUNDED\s*{_TOTAL}|{_TOTAL}\s*\(?\s*(?:ROUNDED|AFTER|W/\s*ROUND)",
        rf"GRAND\s*{_TOTAL}|NETT?\s*{_TOTAL}|{_TOTAL}\s*(?:AMOUNT\s*)?(?:DUE|PAYABLE)",
        r"(?:AMOUNT|AMT|BALANCE)\s*(?:DUE|PAYABLE)|NETT?\s*(?:AMOUNT|AMT)",
        rf"{_TOTAL}\s*(?:AMOUNT|AMT|SALES?|RM|\(|:|$)",
        _TOTAL,
    )
)
_SUBTOTAL = re.compile(rf"SUB[\s-]*{_TOTAL}", re.IGNORECASE)


def _total(rows: Sequence[Row]) -> Amount | None:
    """Take the surest label's amount, the first there is; without any label the last subtotal."""
    for label in _LABELS_SUREST_FIRST:
        for index, row in enumerate(rows):
            for place, line in enumerate(row.lines):
                if label.search(line.text) and not _NOT_THE_TOTAL.search(line.text):
                    amount = _amount_beside(row.lines[place:], rows[index + 1 : index + 2])
                    if amount is not None:
                        return amount
    subtotals = [row.lines for row in rows if _SUBTOTAL.search(row.text)]
    return _amount_beside(subtotals[-1], ()) if subtotals else None


def _amount_beside(lines: Sequence[Line], below: Sequence[Row]) -> Amount | None:
    """Take the rightmost amount; without one, that of the row below if it has no words."""
    amounts = [amount for line in lines for amount in _amounts(line)]
    if not amounts and below and not re.search(r"[A-Z]{3}", below[0].text, re.IGNORECASE):
        amounts = [amount for line in below[0].lines for amount in _amounts(line)]
    return amounts[-1] if amounts else None
