"""When diffs are folded: chains stay short, and pages are not written again and again."""

from __future__ import annotations

from math import comb

import pytest

from chromaseal.snapshot.chain import CHAIN_LIMIT, OUTWEIGHED, fold_from, outweighs
from chromaseal.snapshot.manifest import BASE, DIFF, LayerEntry, PartEntry

COMMITS = 5_000
BASE_LAYER = LayerEntry("base", BASE, 1, 1, 0, ())


def commit(chain: list[LayerEntry], number: int, size_bytes: int = 1) -> list[LayerEntry]:
    """Do what publishing does: fold where it is due, then append a diff."""
    start = fold_from(chain)
    if start is not None:
        young = chain[start:]
        size = sum(layer.size_bytes for layer in young)
        depth = 1 + max(layer.depth for layer in young)
        chain = [*chain[:start], entry(young[0].first, young[-1].last, depth, size)]
    return [*chain, entry(number, number, 0, size_bytes)]


def entry(first: int, last: int, depth: int, size_bytes: int) -> LayerEntry:
    """Make a diff."""
    part = PartEntry(size_bytes, 0, "")
    return LayerEntry(f"{first}-{last}", DIFF, first, last, depth, (part,))


def chains() -> list[list[LayerEntry]]:
    """Give the chain after each commit; nothing ever makes a new base due."""
    found = [[BASE_LAYER]]
    for number in range(2, COMMITS + 2):
        found.append(commit(found[-1], number))
    return found


def test_no_chain_becomes_longer_than_its_limit() -> None:
    """Over 5,000 commits every chain has at most 16 layers, without a gap or an overlap."""
    for commits, chain in enumerate(chains()):
        assert len(chain) <= CHAIN_LIMIT == 16
        assert chain[0] == BASE_LAYER
        covered = [n for layer in chain for n in range(layer.first, layer.last + 1)]
        assert covered == list(range(1, commits + 2))


def test_older_diffs_were_folded_at_least_as_often() -> None:
    """Depths never rise towards the young end, so a fold takes diffs of like age."""
    for chain in chains():
        depths = [layer.depth for layer in chain[1:]]
        assert depths == sorted(depths, reverse=True)


def test_pages_are_folded_as_rarely_as_promised() -> None:
    """With room for 15 diffs, over C(15 + d, d + 1) commits no page is folded more than d times."""
    deepest = [max((layer.depth for layer in chain[1:]), default=0) for chain in chains()]
    room = CHAIN_LIMIT - 1
    for depth in range(4):
        within = comb(room + depth, depth + 1)
        assert max(deepest[: within + 1]) == depth
    assert (comb(room + 1, 2), comb(room + 2, 3), comb(room + 3, 4)) == (120, 680, 3_060)
    assert max(deepest) == 4


def test_folding_writes_little_more_than_the_diffs() -> None:
    """Over 1,000 equal commits each byte is written four times at most, the first included."""
    chain, written = [BASE_LAYER], 0
    for number in range(2, 1_002):
        start = fold_from(chain)
        written += 1 + (0 if start is None else sum(layer.size_bytes for layer in chain[start:]))
        chain = commit(chain, number)
    print(f"{written / 1_000:.2f} bytes written per byte over 1,000 commits")
    assert written <= 4 * 1_000


def test_there_is_nothing_to_fold_while_there_is_room() -> None:
    """A chain below its limit is left alone; a full one gives at least two diffs to fold."""
    for length in range(CHAIN_LIMIT - 1):
        assert fold_from([BASE_LAYER, *(entry(n, n, 0, 1) for n in range(length))]) is None
    full = [BASE_LAYER, *(entry(n, n, 0, 1) for n in range(CHAIN_LIMIT - 1))]
    assert fold_from(full) == 1
    staircase = [BASE_LAYER, *(entry(n, n, CHAIN_LIMIT - n, 1) for n in range(1, CHAIN_LIMIT))]
    start = fold_from(staircase)
    assert start is not None
    assert len(staircase) - start >= 2


@pytest.mark.parametrize(("chain", "due"), [(0, False), (1_400, False), (1_401, True)])
def test_a_base_is_due_when_the_chain_outweighs_it(chain: int, due: bool) -> None:  # noqa: FBT001
    """A cold read fetches at most 1.4 times what a base would take, by the estimate."""
    assert OUTWEIGHED <= 1.5
    assert outweighs(chain, 1_000) is due
