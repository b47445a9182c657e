"""Visual rows: lines -> rows, top first, each read from left to right.

A detector finds a label and its amount as two lines; people read them as one row. The grouping
is the one of the existing pipeline ("visual-rows-v1"), because a row's id is its leftmost
line's id and records of both pipelines share those ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from chromaseal.receipts.model import Box, Line


@dataclass(frozen=True, slots=True)
class Row:
    """Lines that stand beside each other.

    Attributes:
        line_id: the primary line's id: the leftmost line's.
        lines: at least one line, left to right.
        text: the lines' texts joined by one space.
        box: the smallest upright box around all lines, in 0..1 from the bottom left.
        confidence: mean of the lines' confidences, in 0..1.
    """

    line_id: int
    lines: tuple[Line, ...]
    text: str
    box: Box
    confidence: float


def visual_rows(lines: Sequence[Line]) -> tuple[Row, ...]:
    """Group lines into rows.

    Two lines are in one row when the vertical centre of either lies within the other's span;
    rows are the connected groups.

    Args:
        lines: a receipt's lines in any order, line ids unique.

    Returns:
        Every line in exactly one row; rows by their lines' mean y, topmost first.
    """
    boxes = [line.quad.box() for line in lines]
    parents = list(range(len(lines)))
    for first in range(len(lines)):
        for second in range(first):
            if _beside(boxes[first], boxes[second]):
                parents[_root(parents, first)] = _root(parents, second)
    groups: dict[int, list[int]] = {}
    for index in range(len(lines)):
        groups.setdefault(_root(parents, index), []).append(index)
    keyed = [
        (-sum(boxes[i].y for i in group) / len(group), _row([(boxes[i], lines[i]) for i in group]))
        for group in groups.values()
    ]
    return tuple(row for _, row in sorted(keyed, key=lambda pair: (pair[0], pair[1].line_id)))


def _beside(one: Box, other: Box) -> bool:
    return _holds_centre_of(one, other) or _holds_centre_of(other, one)


def _holds_centre_of(outer: Box, inner: Box) -> bool:
    return outer.y <= inner.y + inner.height / 2 <= outer.y + outer.height


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _row(members: list[tuple[Box, Line]]) -> Row:
    members.sort(key=lambda member: (member[0].x, member[1].line_id))
    lines = tuple(line for _, line in members)
    return Row(
        line_id=lines[0].line_id,
        lines=lines,
        text=" ".join(line.text for line in lines),
        box=reduce(Box.union, (box for box, _ in members)),
        confidence=sum(line.confidence for line in lines) / len(lines),
    )
