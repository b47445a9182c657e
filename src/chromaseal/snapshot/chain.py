"""What is to become of a version's layers when the next diff comes: append, fold, or a new base.

A reader without any version fetches the whole chain, so the chain must stay short and must not
outweigh what it is about. Writing everything anew would keep it so, at a price: every byte
would be written again and again. So diffs of like age are folded into one when the chain is
full: with room for k diffs, folding the youngest ones of equal depth leaves every page folded d
times at most over C(k + d, d + 1) commits (k = 15: once over 120, twice over 680, three times
over 3,060). That is the k-binomial transform of Bentley and Saxe, "Decomposable searching
problems I" (1980), in the form that Mathieu et al. gave for log-structured stores,
"Bigtable merge compaction" (2014).
"""

from __future__ import annotations

from collections.abc import Sequence

from chromaseal.snapshot.manifest import LayerEntry

CHAIN_LIMIT = 16
# A cold read is to fetch at most 1.5 times what a new base would take; the rest is for the error
# of the estimate.
OUTWEIGHED = 1.4


def fold_from(layers: Sequence[LayerEntry]) -> int | None:
    """Say which layers are to become one before another diff is appended.

    Args:
        layers: a chain, its base first.

    Returns:
        From which place on the layers are folded; None while there is room.
    """
    if len(layers) < CHAIN_LIMIT:
        return None
    diffs = layers[1:]
    for depth in sorted({layer.depth for layer in diffs}):
        young = _youngest(diffs, depth)
        if young > 1:
            return len(layers) - young
    return 1


def _youngest(diffs: Sequence[LayerEntry], depth: int) -> int:
    """Count the diffs at the end that were folded at most that often."""
    count = 0
    for layer in reversed(diffs):
        if layer.depth > depth:
            break
        count += 1
    return count


def outweighs(chain_bytes: int, packed_bytes: int) -> bool:
    """Whether a chain has come to weigh so much that a new base is due."""
    return chain_bytes > OUTWEIGHED * packed_bytes
