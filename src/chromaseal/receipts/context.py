"""Embedding inputs: lines and rows -> the texts whose vectors are stored.

A word goes in with two neighbours on each side, a row with the rows above and below it;
``<EDGE>`` stands for each missing one. Forms and neighbour choice are the existing pipeline's,
so that its queries fit these records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chromaseal.receipts.model import Line, Word
from chromaseal.receipts.rows import Row

EDGE = "<EDGE>"
NEIGHBOURS_PER_SIDE = 2
FILL_MAX_DY = 0.05
FILL_MAX_DX = 0.25


@dataclass(frozen=True, slots=True)
class WordInContext:
    """A word and its neighbours.

    Attributes:
        line_id: the word's line.
        word: the word.
        left: texts of the two words to the left, farther one first.
        right: texts of the two words to the right, nearer one first.
    """

    line_id: int
    word: Word
    left: tuple[str, str]
    right: tuple[str, str]

    @property
    def embedding_input(self) -> str:
        """Give ``L2 L1 WORD R1 R2``."""
        return " ".join((*self.left, self.word.text, *self.right))


def words_in_context(lines: Sequence[Line]) -> tuple[WordInContext, ...]:
    """Find each word's neighbours.

    Words whose vertical spans overlap count as one line and are taken outward in x order; where
    a side has fewer than two, words nearby on that side fill in, those nearest in height first.

    Args:
        lines: a receipt's lines with their words.

    Returns:
        One entry per word, in the order of the lines and of their words.
    """
    owned = [(line.line_id, word) for line in lines for word in line.words]
    if not owned:
        return ()
    page = _Page([word for _, word in owned])
    return tuple(
        WordInContext(line_id, word, page.left(index), page.right(index))
        for index, (line_id, word) in enumerate(owned)
    )


def row_inputs(rows: Sequence[Row]) -> tuple[str, ...]:
    r"""Give each row's ``above \n target \n below``, for rows sorted top first."""
    texts = [EDGE, *(row.text for row in rows), EDGE]
    return tuple("\n".join(texts[i : i + 3]) for i in range(len(rows)))


class _Page:
    """A receipt's words sorted by x, with which of them are beside or near each other."""

    def __init__(self, words: Sequence[Word]) -> None:
        boxes = [word.quad.box() for word in words]
        centres = [word.quad.centroid() for word in words]
        x = np.array([centre.x for centre in centres])
        order = np.argsort(x, kind="stable")
        self._texts = [words[i].text for i in order]
        self._rank = np.argsort(order, kind="stable").tolist()
        x = x[order]
        y = np.array([centre.y for centre in centres])[order]
        bottom = np.array([box.y for box in boxes])[order]
        top = np.array([box.y + box.height for box in boxes])[order]
        self._beside = (bottom[:, None] <= top) & (top[:, None] >= bottom)
        self._dx = np.abs(x[:, None] - x)
        self._dy = np.abs(y[:, None] - y)
        self._near = (self._dy < FILL_MAX_DY) & (self._dx < FILL_MAX_DX) & ~self._beside

    def left(self, index: int) -> tuple[str, str]:
        rank = self._rank[index]
        beside = np.flatnonzero(self._beside[rank, :rank])[::-1]
        near, far = self._two(rank, beside, slice(0, rank))
        return far, near

    def right(self, index: int) -> tuple[str, str]:
        rank = self._rank[index]
        beside = np.flatnonzero(self._beside[rank, rank + 1 :]) + rank + 1
        return self._two(rank, beside, slice(rank + 1, None))

    def _two(self, rank: int, beside: NDArray[np.intp], side: slice) -> tuple[str, str]:
        chosen: list[int] = beside[:NEIGHBOURS_PER_SIDE].tolist()
        if len(chosen) < NEIGHBOURS_PER_SIDE:
            chosen += self._fill(rank, side)[: NEIGHBOURS_PER_SIDE - len(chosen)]
        near, far, *_ = (*(self._texts[i] for i in chosen), EDGE, EDGE)
        return near, far

    def _fill(self, rank: int, side: slice) -> list[int]:
        candidates = np.flatnonzero(self._near[rank, side]) + (side.start or 0)
        keys = (self._dx[rank, candidates], self._dy[rank, candidates])
        by_dy_then_dx: list[int] = candidates[np.lexsort(keys)].tolist()
        return by_dy_then_dx
