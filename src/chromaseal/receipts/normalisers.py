"""Normal forms: phone, address, URL, merchant name as printed -> the text that is compared.

The first four are the existing pipeline's, rule by rule, because their results are stored and
matched across both pipelines.
"""

from __future__ import annotations

import re
import string

_US_PHONE_DIGITS = 10
_PHONE_DIGITS_RANGE = range(7, 16)
_SUFFIX_MIN_DIGITS = 8
_ADDRESS_WORDS = {
    "STREET": "ST",
    "ROAD": "RD",
    "AVENUE": "AVE",
    "BOULEVARD": "BLVD",
    "DRIVE": "DR",
    "LANE": "LN",
    "HIGHWAY": "HWY",
    "PARKWAY": "PKWY",
    "SUITE": "STE",
    "APARTMENT": "APT",
}


def normalize_phone_10(text: str) -> str:
    """Give a North American number's ten digits, without the leading 1; "" if it is none."""
    digits = re.sub(r"\D", "", text)
    if len(digits) == _US_PHONE_DIGITS + 1 and digits.startswith("1"):
        digits = digits[1:]
    plausible = len(digits) == _US_PHONE_DIGITS and len(set(digits)) > 1
    return digits if plausible else ""


def normalize_phone(text: str) -> str:
    """Give any country's number as its 7 to 15 digits; "" if it cannot be one."""
    digits = re.sub(r"\D", "", text)
    plausible = len(digits) in _PHONE_DIGITS_RANGE and len(set(digits)) > 1
    return digits if plausible else ""


def same_phone(one: str, other: str) -> bool:
    """Tell whether two numbers of digits reach the same phone.

    ``+603-3362 4137`` and ``03-3362 4137`` do: leading zeros and country codes are dropped as
    long as eight digits agree.
    """
    short, long = sorted((one.lstrip("0"), other.lstrip("0")), key=len)
    return bool(short) and (
        short == long or (len(short) >= _SUFFIX_MIN_DIGITS and long.endswith(short))
    )


def normalize_address(text: str) -> str:
    """Give an address in capitals, without edge punctuation, with short street words."""
    tokens = (token.strip(string.punctuation) for token in text.upper().split())
    return " ".join(_ADDRESS_WORDS.get(token, token) for token in tokens if token)


def normalize_url(text: str) -> str:
    """Give a web address without scheme, www., query and fragment; "" for an e-mail address."""
    text = text.strip()
    if "@" in text or not text:
        return ""
    bare = re.sub(r"^[a-z][a-z0-9+.-]*://", "", text, flags=re.IGNORECASE)
    bare = re.sub(r"^www\.", "", bare, flags=re.IGNORECASE)
    bare = re.sub(r"/{2,}", "/", re.split(r"[?#]", bare, maxsplit=1)[0]).rstrip("/")
    host, slash, path = bare.partition("/")
    return host.lower() + slash + path


def merchant_name(text: str) -> str:
    """Give a merchant's name as it is stored: stripped, in title case."""
    return text.strip().title()
