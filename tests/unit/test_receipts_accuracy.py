"""The scores of bench/receipts_accuracy.py on examples small enough to count by hand."""

from __future__ import annotations

import pytest
from bench.receipts_accuracy import (
    BoxedText,
    compare,
    merchant_is_right,
    word_recall,
)


def _at(text: str, left_px: float, top_px: float) -> BoxedText:
    return BoxedText(text, left_px, top_px, left_px + 50, top_px + 20)


def test_perfect_reading_has_no_errors() -> None:
    """Case, width forms and spaces do not count."""
    same = compare([_at("TOTAL 5.00", 0, 0)], [_at("total５.00", 0, 0)])  # noqa: RUF001
    assert (same.character_error_rate, same.exact_lines) == (0, 1)


def test_errors_are_counted_per_truth_character() -> None:
    """One wrong character of four is a quarter, and the line is not exact."""
    compared = compare([_at("CASH", 0, 0)], [_at("CA5H", 0, 0)])
    assert (compared.character_error_rate, compared.exact_lines) == (0.25, 0)


def test_reading_order_is_by_rows_not_by_pixels() -> None:
    """An amount a few pixels above its label still comes after it."""
    truth = [_at("TOTAL", 0, 100), _at("5.00", 300, 100), _at("THANKS", 0, 140)]
    read = [_at("THANKS", 0, 140), _at("5.00", 300, 97), _at("TOTAL", 0, 102)]
    assert compare(truth, read).character_error_rate == 0


def test_a_line_may_be_read_as_part_of_a_longer_one() -> None:
    """Where the detector cuts is no error of reading."""
    truth = [_at("TEL 123", 0, 0), _at("FAX 456", 60, 0)]
    compared = compare(truth, [BoxedText("TEL 123 FAX 456", 0, 0, 110, 20)])
    assert (compared.character_error_rate, compared.exact_lines) == (0, 1)


def test_text_beside_the_truth_is_counted_apart() -> None:
    """A stamp that the truth leaves out is surplus, not an error of its neighbours."""
    compared = compare([_at("CASH", 0, 0)], [_at("CASH", 0, 0), _at("PAID", 0, 300)])
    assert (compared.character_error_rate, compared.surplus_characters) == (0, 4)


def test_nothing_to_read_is_no_error() -> None:
    """An empty truth gives no rate above 0."""
    assert compare([], [_at("X", 0, 0)]).character_error_rate == 0


def test_word_recall_ignores_punctuation_and_order() -> None:
    """Three of four words were read."""
    assert word_recall(["TOTAL: RM 5.00", "CASH"], ["cash", "total rm", "5.60"]) == 0.75


@pytest.mark.parametrize(
    ("truth", "read", "right"),
    [
        ("ACME TOOLS SDN BHD", "Acme Tools Sdn. Bhd.", True),
        ("ACME TOOLS SDN BHD", "ACMETOOLS", True),
        ("ACME TOOLS SDN BHD", "ACNE TOOLS SDN BHD", False),
        ("ACME HARDWARE TOOLS", "ACNE HARDWARE TOOLS", True),
        ("ACME TOOLS", "", False),
    ],
)
def test_merchants_compare_without_suffixes(truth: str, read: str, right: bool) -> None:  # noqa: FBT001
    """Company suffixes, spaces and punctuation do not count; a tenth may be misread."""
    assert merchant_is_right(truth, read) is right
