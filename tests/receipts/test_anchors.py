"""Anchors: what is found in noisy rows, in which normal form, and where."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromaseal.receipts.anchors import Anchors, find_anchors
from chromaseal.receipts.dates import date_in
from chromaseal.receipts.model import Line, Point, Quad, Word
from chromaseal.receipts.normalisers import (
    normalize_address,
    normalize_phone,
    normalize_phone_10,
    normalize_url,
    same_phone,
)
from chromaseal.receipts.rows import visual_rows


def _quad(x: float, y: float) -> Quad:
    return Quad(Point(x, y + 0.02), Point(x + 0.2, y + 0.02), Point(x + 0.2, y), Point(x, y))


def _anchors(*rows: str) -> Anchors:
    """Read rows written as text, lines of a row separated by `` | ``."""
    lines: list[Line] = []
    for index, row in enumerate(rows):
        for place, text in enumerate(row.split(" | ")):
            quad = _quad(place * 0.3, 0.95 - index * 0.04)
            words = tuple(Word(i, t, quad, 0.9) for i, t in enumerate(text.split(), start=1))
            lines.append(Line(len(lines) + 1, text, quad, 0.9, words))
    return find_anchors(visual_rows(lines))


@pytest.mark.parametrize(
    ("text", "digits", "us_digits"),
    [
        ("Tel:03-5512 3456 Fax:03-5512 9999", "0355123456", "0355123456"),
        ("Te1 : +603-3362 0000", "60333620000", ""),
        ("PHONE (718) 478-0000", "7184780000", "7184780000"),
        ("706-548-0000", "7065480000", "7065480000"),
        ("1-800-88-1234", "1800881234", "1800881234"),
        ("03-55695002/5003", "0355695002", "0355695002"),
    ],
)
def test_phones_are_found(text: str, digits: str, us_digits: str) -> None:
    """Labelled or bare, with the noise of OCR; the fax beside it is not the phone."""
    (phone,) = _anchors(text).phones
    assert (phone.digits, phone.us_digits) == (digits, us_digits)


@pytest.mark.parametrize(
    "text", ["GST ID: 000381399040", "Fax:03-55123456", "Invoice No: 18291/102/T0163", "1.5000"]
)
def test_other_numbers_are_no_phones(text: str) -> None:
    """Tax numbers, faxes, document numbers and amounts stay out."""
    assert _anchors(text).phones == ()


def test_address_is_the_block_of_address_rows() -> None:
    """Rows between the name and the labelled details, whole lines, in its normal form."""
    address = _anchors(
        "ACME TOOLS SDN BHD",
        "NO 290, JALAN CONTOH,",
        "SETAPAK,",
        "53200, KUALA LUMPUR.",
        "TEL: 03-40210000",
    ).address
    assert address is not None
    assert address.normalized == "NO 290 JALAN CONTOH SETAPAK 53200 KUALA LUMPUR"
    assert [span.line_id for span in address.spans] == [2, 3, 4]


def test_american_address_is_found() -> None:
    """A numbered street and a city with state and ZIP code."""
    address = _anchors("DINER", "259 W. Example Street", "Athens, GA 30601").address
    assert address is not None
    assert address.normalized == "259 W EXAMPLE ST ATHENS GA 30601"


def test_an_item_code_is_no_address() -> None:
    """Five digits and a word in the list of items do not make a postcode."""
    assert _anchors("ACME", "21434 SOAP BASKET").address is None


def test_urls_are_found_and_mail_addresses_are_not() -> None:
    """With or without www., in normal form."""
    urls = _anchors("www.Example.com/Menu/?q=1", "mail me@example.org", "shop.example.com.my").urls
    assert [url.normalized for url in urls] == ["example.com/Menu", "shop.example.com.my"]


@pytest.mark.parametrize(
    ("text", "iso", "rule"),
    [
        ("2018/02/22 13:34", "2018-02-22", "year-first"),
        ("Date:2016/05/0114:11:20", "2016-05-01", "year-first"),
        ("15 JUN 18", "2018-06-15", "month-name"),
        ("16AUG2015", "2015-08-16", "month-name"),
        ("Jun 5, 2018", "2018-06-05", "month-name"),
        ("22-04-16", "2016-04-22", "day-first"),
        ("04/29/2013", "2013-04-29", "month-first"),
        ("03.04.2018", "2018-04-03", "day-first-by-region"),
        ("18-03-201811:23", "2018-03-18", "day-first"),
    ],
)
def test_dates_are_read_with_the_rule_that_read_them(text: str, iso: str, rule: str) -> None:
    """Each way of writing has its rule."""
    date = _anchors(text).date
    assert date is not None
    assert (date.iso, date.rule) == (iso, rule)


def test_an_american_zip_code_puts_the_month_first() -> None:
    """03/04/2018 on a receipt from Athens, GA is in March."""
    date = _anchors("259 W. Example St", "Athens, GA 30601", "03/04/2018").date
    assert date is not None
    assert (date.iso, date.rule) == ("2018-03-04", "month-first-by-region")


@pytest.mark.parametrize("text", ["31/02/2018", "03-5512 3456", "1.50", "19/9, SEKSYEN 9"])
def test_what_is_no_day_of_the_calendar_is_no_date(text: str) -> None:
    """Impossible days, phones, amounts and street numbers are left alone."""
    assert date_in(text, "elsewhere") is None


@pytest.mark.parametrize(
    ("rows", "total"),
    [
        (["SUBTOTAL | 9.00", "T0TAL | 9.54", "CASH | 10.00", "CHANGE | 0.46"], "9.54"),
        (["Total | 12.72", "Rounding | -0.02", "Rounded Total | 12.70"], "12.70"),
        (["TOTAL INCL. GST@6% | RM 68.10", "GST @6% included in total | RM 3.85"], "68.10"),
        (["Total Saving | 0.00 | Total | 41.50"], "41.50"),
        (["Total", "39,50"], "39.50"),
        (["SUBTOTAL | 53.60", "CASH | 100.00", "CHANGE | 46.40"], "53.60"),
        (["Grand Total | $1,234.50", "Total | 1.00"], "1234.50"),
    ],
)
def test_the_total_is_the_amount_of_the_surest_label(rows: list[str], total: str) -> None:
    """Not the subtotal, the tax, the cash, the change or the savings."""
    found = _anchors(*rows).total
    assert found is not None
    assert found.value == Decimal(total)


def test_amounts_keep_their_sign() -> None:
    """Minus signs and parentheses make an amount negative."""
    values = [amount.value for amount in _anchors("DISC -2.37", "(1.00)", "RM4.40 6.00%").amounts]
    assert values == [Decimal("-2.37"), Decimal("-1.00"), Decimal("4.40")]


def test_anchors_point_to_the_words_they_were_read_from() -> None:
    """Only the words of the number carry its normal form, and so does the row."""
    anchors = _anchors("ACME", "Tel: 03-5512 3456 Kuala")
    forms = {"normalized_phone_10": "0355123456", "normalized_phone": "0355123456"}
    assert anchors.metadata_of_word(2, 1) == {}
    assert anchors.metadata_of_word(2, 2) == anchors.metadata_of_word(2, 3) == forms
    assert anchors.metadata_of_word(2, 4) == {}
    assert anchors.metadata_of_lines({2}) == forms
    assert anchors.metadata_of_lines({1}) == {}


@given(st.lists(st.text(max_size=40), max_size=8))
def test_no_text_breaks_the_search(rows: list[str]) -> None:
    """Whatever OCR gives, there is an answer."""
    _anchors(*(row or "x" for row in rows))


def test_normal_forms_follow_the_existing_rules() -> None:
    """Phones lose a leading 1, addresses get short street words, URLs lose their frame."""
    assert normalize_phone_10("+1 (718) 478-0000") == "7184780000"
    assert normalize_phone_10("1111111111") == ""
    assert normalize_phone("+60 3-3362 0000") == "60333620000"
    assert normalize_phone("12-34") == ""
    assert normalize_address(" 12  Main Street, Suite 5. ") == "12 MAIN ST STE 5"
    assert normalize_url("HTTPS://www.Example.COM//a//b/?x#y") == "example.com/a/b"
    assert normalize_url("me@example.com") == ""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("60333620000", "0333620000", True),
        ("0333620000", "0333620000", True),
        ("0333620001", "0333620000", False),
        ("20000", "0333620000", False),
        ("", "", False),
    ],
)
def test_phones_agree_across_country_codes(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    """Eight digits must agree."""
    assert same_phone(one, other) is same
