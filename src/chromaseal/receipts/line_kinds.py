"""Kinds of text on a receipt: a line's text -> is it an address, a labelled detail, a heading?

Words of several countries' receipts; none is a merchant's. Glued words count, because OCR
drops spaces: ``TAXINVOICE``.
"""

from __future__ import annotations

import re

_US_STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ"
    "|NM|NY|NC|ND|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|DC"
)
_ZIP = re.compile(rf"\b(?:{_US_STATES})[\s,.]*\d{{5}}(?:-\d{{4}})?\b", re.IGNORECASE)
_CITY_AND_STATE = re.compile(rf"[A-Z]{{3,}},\s?(?:{_US_STATES})\b(?!\w)", re.IGNORECASE)
_UK_POSTCODE = re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b")
_POSTCODE_AND_TOWN = re.compile(r"(?<![\d#-])\d{5}[\s,.]+[A-ZÀ-Þ]{3,}", re.IGNORECASE)
_STREET_WORD = re.compile(
    r"\b(?:JALAN|J[L1]N|JI\.?N|LORONG|LRG|LEBUH(?:RAYA)?|PERSIARAN|TAMAN|TMN|KAMPUNG|KG|BANDAR"
    r"|SEKSYEN|MUKIM|BATU \d|LOT\s?[\d:.NPGBF]|KAWASAN|KOMPLEKS|COMPLEKS"
    r"|CALLE|GRAN VIA|RUE|STRASSE|PLAZA|MALL OF|SHOPPING (?:CENTRE|CENTER|MALL)"
    r"|(?:GROUND|GND|\d(?:ST|ND|RD|TH)) (?:FLOOR|FLR|FL)|LEVEL \d|BLOCK [A-Z\d]\b|UNIT [A-Z\d])",
    re.IGNORECASE,
)
_NUMBERED_STREET = re.compile(
    r"\b\d{1,6}[A-Z]?[\s,-]+(?:\S+\s+){0,4}(?:STREET|ST|ROAD|RD|AVENUE|AVE|BOULEVARD|BLVD|DRIVE|DR"
    r"|LANE|LN|HIGHWAY|HWY|PARKWAY|PKWY|PLACE|SQUARE)\b",
    re.IGNORECASE,
)
_STREET_AT_END = re.compile(
    r"^[A-Z. ]{3,30}\b(?:STREET|ST|ROAD|RD|AVENUE|AVE|BLVD|HWY)\.?$", re.IGNORECASE
)
_HOUSE_NUMBER = re.compile(r"^\W*N[O0]\s?[.:]?\s?\d+[A-Z]?(?:[\s,&/-]|$)", re.IGNORECASE)
_LABELLED_DETAIL = re.compile(
    r"\b(?:T[E3][L1I]F?|FAX|PHONE|MOBILE|GST|G5T|SST|VAT|REG(?:ISTRATION)?|TAX|INV(?:OICE)?"
    r"|INVDICE|BILL|RECEIPT|CASHIER|DATE|TIME|TABLE|SERVER|ORDER|TERMINAL|COUNTER|EMAIL|E-MAIL"
    r"|WEBSITE|TICKET|DOC(?:UMENT)?|CUSTOMER|MEMBER|HOST|GUESTS?|STATION|CHECK|CHK|SLIP|TRANS(?:ACTION)?"
    r"|STAFF|SALES ?PERSON|MC)\b\s*(?:NO|ID|#|NUMBER|CODE)?\s*[.:#\d(]"
    r"|\b(?:GST|VAT|TAX|SST)\W{0,3}(?:REG|ID|1D|NO|NUMBER)|REG\.? ?NO|CO\.? ?REG|CO\.? ?NO"
    r"|^\W*(?:T[E3][L1I]|FAX)\b|ID ?GST",
    re.IGNORECASE,
)
_HEADINGS = re.compile(
    r"(?:SIMPLIFIED|COPY|ORIGINAL|DUPLICATE|CUSTOMER|MERCHANT|FULL)?(?:TA[XP]?X?INVO[IL]CE|TAXINVDICE"
    r"|INVOICE|RECEIPT(?:DETAILS?)?|SALESRECEIPT|CASHSALES?(?:COUNTER)?|CASHBILL|CASHRECEIPT"
    r"|OFFICIALRECEIPT|GUESTCHECK|BILL|STATEMENT|COPY|ORIGINAL|DUPLICATE|REPRINT|CHECK|ORDER"
    r"|CREDITNOTE|ADJUSTMENTNOTE|DELIVERYORDER|QUOTATION|TAKEOUT|TAKEAWAY|DINEIN|EATIN|TOGO"
    r"|RETAINED|OPENINGHOURS|SHOPPINGHOURS|WELCOME(?:TO)?|THANKYOU)+",
    re.IGNORECASE,
)
_SENTENCE_WORDS_TEXT = (
    "you your our us we for with without the is are was thank thanks welcome please this that less"
    " of come again visit have and more to it be will at in tq shopping"
)
_SENTENCE_WORDS = frozenset(_SENTENCE_WORDS_TEXT.split())
_OWNER = re.compile(r"^\W*(?:OWNED|OPERATED|MANAGED)\s*BY\b\W*", re.IGNORECASE)
_MIN_SENTENCE_WORDS = 2
_TIME = re.compile(r"\b\d{1,2}:\d{2}(?::\d{2})?\s?(?:[AP]M)?\b", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Tell whether a line looks like part of a postal address."""
    patterns = (
        _ZIP,
        _CITY_AND_STATE,
        _UK_POSTCODE,
        _POSTCODE_AND_TOWN,
        _STREET_WORD,
        _NUMBERED_STREET,
        _STREET_AT_END,
        _HOUSE_NUMBER,
    )
    return not is_labelled_detail(text) and any(pattern.search(text) for pattern in patterns)


def postcode_country(address: str) -> str:
    """Give ``us``, ``gb`` or ``other`` by the address's postcode; "" without one."""
    if _ZIP.search(address):
        return "us"
    if _UK_POSTCODE.search(address):
        return "gb"
    return "other" if _POSTCODE_AND_TOWN.search(address) else ""


def is_labelled_detail(text: str) -> bool:
    """Tell whether a line is a label with its value: a phone, a tax number, a cashier."""
    return bool(_LABELLED_DETAIL.search(text))


def is_heading(text: str) -> bool:
    """Tell whether a line only names the document, such as ``TAX INVOICE``, or greets."""
    letters = re.sub(r"[^A-Z]", "", text.upper())
    return bool(letters) and _HEADINGS.fullmatch(letters) is not None


def is_sentence(text: str) -> bool:
    """Tell whether a line speaks to the customer: a slogan, thanks, opening words."""
    words = re.findall(r"[a-z']+", text.lower())
    return sum(word in _SENTENCE_WORDS for word in words) >= _MIN_SENTENCE_WORDS


def is_owner_label(text: str) -> bool:
    """Tell whether a line says that whoever follows owns the shop."""
    return bool(_OWNER.search(text))


def has_time(text: str) -> bool:
    """Tell whether a line has a time of day in it."""
    return bool(_TIME.search(text))
