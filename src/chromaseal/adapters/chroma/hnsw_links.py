"""The links between HNSW elements: do they lead to elements, and do they lead to all of them?

Nothing here loops over elements but where a chain of lengths has to be walked, and there only
over the few elements that stand above level 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_WORD_BYTES = 4


class LinkLists(NamedTuple):
    """What ``link_lists.bin`` says.

    Attributes:
        end: where its chain ends; -1 if it breaks.
        levels: of every element.
        ok: whether every list leads to other elements of its level.
    """

    end: int
    levels: NDArray[np.int64]
    ok: bool


def read_link_lists(content: bytes, elements: int, max_m: int) -> LinkLists:
    """Walk the chain {u32 n; n bytes} of ``link_lists.bin``, one entry per element.

    Args:
        content: the whole file.
        elements: how many entries there should be.
        max_m: links per element above level 0.
    """
    row_words = max_m + 1
    words = np.frombuffer(content[: len(content) // _WORD_BYTES * _WORD_BYTES], dtype="<u4")
    levels = np.zeros(elements, dtype=np.int64)
    rows: list[NDArray[np.int64]] = []
    owners: list[int] = []
    used = np.flatnonzero(words)
    place = element = 0
    while element < elements:
        # An element that stands on level 0 alone is one word: nought.
        following = int(np.searchsorted(used, place))
        upper = int(used[following]) if following < len(used) else len(words)
        skipped = min(upper - place, elements - element)
        place, element = place + skipped, element + skipped
        if element == elements:
            break
        if place >= len(words):
            return LinkLists(-1, levels, ok=False)
        count, rest = divmod(int(words[place]), row_words * _WORD_BYTES)
        first, place = place + 1, place + 1 + count * row_words
        if rest or place > len(words):
            return LinkLists(-1, levels, ok=False)
        levels[element] = count
        rows.append(first + row_words * np.arange(count))
        owners.extend([element] * count)
        element += 1
    ok = _upper_lists_ok(words, rows, owners, levels, row_words)
    return LinkLists(place * _WORD_BYTES, levels, ok)


def _upper_lists_ok(
    words: NDArray[np.uint32],
    rows: list[NDArray[np.int64]],
    owners: list[int],
    levels: NDArray[np.int64],
    row_words: int,
) -> bool:
    """Check all lists above level 0: each a count (u16) and its links."""
    if not rows:
        return True
    level = np.concatenate([np.arange(len(each)) for each in rows])
    table = words[np.concatenate(rows)[:, None] + np.arange(row_words)]
    counts, links = table[:, 0] & 0xFFFF, table[:, 1:]
    if (counts > links.shape[1]).any():
        return False
    row, column = np.nonzero(np.arange(links.shape[1]) < counts[:, None])
    found = links[row, column]
    if (found >= len(levels)).any():
        return False
    itself = found == np.asarray(owners)[row]
    return not itself.any() and bool((levels[found] > level[row]).all())


class GroundLinks(NamedTuple):
    """What the lists of level 0 say.

    Attributes:
        ok: whether every link leads to another element, no list is too long, and none names an
            element more often than hnswlib itself does.
        doubled: how many links stand in their list a second time.
        emptied: how many elements have no link though others lead to them, or nothing has any.
        alone: how many elements have no link, and none leads to them.
    """

    ok: bool
    doubled: int = 0
    emptied: int = 0
    alone: int = 0


def read_ground_links(links: NDArray[np.uint32], counts: NDArray[np.uint16]) -> GroundLinks:
    """Look at the level-0 links.

    A list may name an element twice: one thread of hnswlib computes a list anew with an element
    that is just being added, and another appends the element without looking
    (``mutuallyConnectNewElement``, where ``isUpdate`` is false). An element is new once, so none
    stands there thrice. A search visits it once all the same.

    An element may have no link: where all that a search meets is deleted, hnswlib may find a new
    element no neighbour. Links are made both ways, so none leads to such an element either, and
    the first two of an index always meet.

    Args:
        links: shape (elements, maxM0).
        counts: how many links each element has.
    """
    elements, room = links.shape
    if (counts > room).any():
        return GroundLinks(ok=False)
    element, column = np.nonzero(np.arange(room) < counts[:, None])
    found = links[element, column].astype(np.int64)
    if (found >= elements).any() or (found == element).any():
        return GroundLinks(ok=False)
    pairs = np.sort(element * elements + found)
    again = pairs[1:] == pairs[:-1]
    bare, led_to = counts == 0, np.zeros(elements, dtype=np.bool_)
    led_to[found] = True
    if elements > 1 and bare.all():
        led_to[:] = True
    return GroundLinks(
        ok=not (again[1:] & again[:-1]).any(),
        doubled=int(again.sum()),
        emptied=int((bare & led_to).sum()),
        alone=int((bare & ~led_to).sum()) if elements > 1 else 0,
    )


def reachable(
    links: NDArray[np.uint32], counts: NDArray[np.uint16], start: int
) -> NDArray[np.bool_]:
    """Say which elements level-0 links lead to from one of them.

    Args:
        links: shape (elements, maxM0), every counted one an element.
        counts: how many links each element has.
        start: an element.

    Returns:
        bool, shape (elements,).
    """
    elements, room = links.shape
    reached = np.zeros(elements, dtype=np.bool_)
    if not elements:
        return reached
    reached[start] = True
    front = np.array([start])
    counted = np.arange(room) < counts[:, None]
    while len(front):
        found = links[front][counted[front]]
        front = np.unique(found[~reached[found]])
        reached[front] = True
    return reached
