"""A run that waits for long -> a message that tells of it once more."""

from __future__ import annotations

import datetime as dt
from typing import Final

from chromaseal.clock import age_s
from chromaseal.keys import delta_prefix
from chromaseal.parts import Parts
from chromaseal.run.model import Run, RunState
from chromaseal.stream.announcing import Send
from chromaseal.stream.messages import Message
from chromaseal.stream.table import EntityType, receipt_of

# Longer than a message takes that was not lost; a stream's records are kept for a day, and a
# mapping gives them up earlier.
AFTER: Final = dt.timedelta(minutes=30)


def remind(parts: Parts, collection: str, send: Send) -> bool:
    """Tell a collection's queue again, where its oldest run should have been taken long ago.

    Args:
        parts: what the vault consists of.
        collection: whose queue it is.
        send: sends messages; not called without any.

    Returns:
        Whether there was anything to tell.

    Raises:
        ChromasealError: the message was not taken.
    """
    for run in parts.ledger.waiting(collection, limit=1):
        reminder = reminder_of(run, collection, now=parts.clock.now())
        if reminder is None:
            continue
        for why in send([reminder]):
            if why is not None:
                raise why
        return True
    return False


def reminder_of(run: Run, collection: str, *, now: dt.datetime) -> Message | None:
    """Give a message about a run; None where the first one may still be on its way.

    Args:
        run: with a part in the collection.
        collection: whose queue is to be told.
        now: by this machine's clock.
    """
    part = run.parts[collection]
    waited_s = age_s(run.created_at, now)
    if waited_s is not None and waited_s < AFTER.total_seconds():
        return None
    if part.state is RunState.MERGING and (age_s(part.started_at, now) or 0.0) < (
        AFTER.total_seconds()
    ):
        return None
    data = {
        "run_id": run.run_id,
        "delta_s3_prefix": delta_prefix(part.delta_key),
        **receipt_of(run.attributes),
    }
    return Message(
        collection=collection,
        entity_type=EntityType.COMPACTION_RUN,
        event_name="INSERT",
        entity_data=data,
        timestamp=now.isoformat(),
        record_id=f"reminder-{run.run_id}",
    )
