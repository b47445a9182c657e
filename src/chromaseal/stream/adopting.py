"""Runs that other programs wrote, and that messages tell of -> runs of this vault."""

from __future__ import annotations

from collections.abc import Callable

from chromaseal.legacy.adoption import adopt_runs
from chromaseal.legacy.bucket import LegacyBucket
from chromaseal.legacy.deltas import Adopted, LegacyRun
from chromaseal.parts import Parts
from chromaseal.stream.batch import Adopt
from chromaseal.stream.messages import Message

# Tells by image, receipt and run whether the table has a run, and what of it waits to be taken.
RunOf = Callable[[str, int, str], tuple[bool, LegacyRun | None]]


def message_adopter(
    parts: Parts, bucket: LegacyBucket, run_of: RunOf, told: Callable[[Adopted], None]
) -> Adopt:
    """Give what adopts a run that a message tells of.

    Two that adopt one run at once write the same; so nobody waits for a turn.

    Args:
        parts: what the vault consists of.
        bucket: has the deltas.
        run_of: reads the table of those programs.
        told: called with what became of each.
    """

    def adopt(message: Message) -> bool:
        image_id, receipt_id = (message.entity_data.get(n) for n in ("image_id", "receipt_id"))
        if not image_id or not isinstance(receipt_id, int):
            return True
        is_there, run = run_of(str(image_id), receipt_id, message.run_id)
        if run is None:
            # Nobody knows a run that is not there; one that is has been merged, or taken over.
            return not is_there or parts.ledger.get(message.run_id) is not None
        for done in adopt_runs(parts, bucket, [run]):
            told(done)
            if done.error is not None:
                raise done.error
        return message.collection in run.prefixes

    return adopt
