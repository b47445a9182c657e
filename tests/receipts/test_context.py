"""Embedding inputs: the forms and neighbour choice of the existing pipeline."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chromaseal.receipts.context import EDGE, row_inputs, words_in_context
from chromaseal.receipts.model import Box, Line, Point, Quad, Word
from chromaseal.receipts.rows import Row

_FRACTIONS = st.floats(0.0, 0.9, allow_nan=False)
_TOKENS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


def _word(word_id: int, text: str, x: float, y: float) -> Word:
    quad = Quad(Point(x, y + 0.02), Point(x + 0.05, y + 0.02), Point(x + 0.05, y), Point(x, y))
    return Word(word_id, text, quad, 0.9)


def _line(*words: Word, line_id: int = 1) -> Line:
    return Line(line_id, " ".join(word.text for word in words), words[0].quad, 0.9, words)


def _row(text: str) -> Row:
    return Row(1, (), text, Box(0, 0, 1, 1), 1.0)


def _inputs(*words: Word) -> list[str]:
    return [entry.embedding_input for entry in words_in_context([_line(*words)])]


@given(st.lists(st.tuples(_TOKENS, _FRACTIONS, _FRACTIONS), min_size=1, max_size=25))
def test_a_word_always_goes_in_as_five_tokens(places: list[tuple[str, float, float]]) -> None:
    """Missing neighbours are ``<EDGE>``, and the word itself is in the middle."""
    words = [_word(i, *place) for i, place in enumerate(places, start=1)]
    for entry in words_in_context([_line(*words)]):
        tokens = entry.embedding_input.split(" ")
        assert len(tokens) == 5
        assert tokens[2] == entry.word.text


@given(st.lists(st.tuples(_TOKENS, _FRACTIONS, _FRACTIONS), min_size=1, max_size=12))
def test_every_word_comes_out_in_its_order(places: list[tuple[str, float, float]]) -> None:
    """One entry per word, named by line and word id."""
    words = [_word(i, *place) for i, place in enumerate(places, start=1)]
    entries = words_in_context([_line(*words), _line(words[0], line_id=2)])
    assert [(e.line_id, e.word.word_id) for e in entries] == [
        *((1, word.word_id) for word in words),
        (2, 1),
    ]


def test_neighbours_on_the_line_are_walked_outward() -> None:
    """L2 L1 WORD R1 R2, whatever order the words are listed in."""
    words = [_word(i, t, i / 10, 0.5) for i, t in enumerate("ABCDEF", start=1)]
    assert _inputs(*reversed(words))[3] == "A B C D E"


def test_edges_are_padded_on_their_own_side() -> None:
    """A lone word has two edges on each side; a first word two on its left."""
    assert _inputs(_word(1, "X", 0.5, 0.5)) == [f"{EDGE} {EDGE} X {EDGE} {EDGE}"]
    pair = _inputs(_word(1, "A", 0.1, 0.5), _word(2, "B", 0.3, 0.5))
    assert pair == [f"{EDGE} {EDGE} A B {EDGE}", f"{EDGE} A B {EDGE} {EDGE}"]


def test_a_short_side_is_filled_from_nearby_words_nearest_in_height_first() -> None:
    """Within 0.05 in y and 0.25 in x; by |dy|, then dx; those on the line stay nearest."""
    target = _word(1, "T", 0.5, 0.5)
    others = [
        _word(2, "beside", 0.3, 0.5),
        _word(3, "higher", 0.45, 0.545),
        _word(4, "nearer", 0.4, 0.47),
        _word(5, "toolow", 0.4, 0.44),
        _word(6, "toofar", 0.2, 0.47),
        _word(7, "right", 0.6, 0.53),
        _word(8, "closer", 0.55, 0.53),
    ]
    assert _inputs(target, *others)[0] == "nearer beside T closer right"


def test_touching_spans_count_as_one_line() -> None:
    """A word that begins where the other ends is on its line."""
    words = (_word(1, "low", 0.1, 0.5), _word(2, "high", 0.9, 0.52))
    assert _inputs(*words)[0].split(" ")[3] == "high"


def test_a_row_goes_in_between_its_neighbours() -> None:
    """Above, target and below on three lines, with edges at both ends."""
    assert row_inputs([_row("a"), _row("b")]) == (f"{EDGE}\na\nb", f"a\nb\n{EDGE}")
    assert row_inputs([]) == ()


def test_no_words_give_no_entries() -> None:
    """A reading without words is no error."""
    assert words_in_context([]) == ()
