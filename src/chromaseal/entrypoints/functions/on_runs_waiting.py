"""A batch of a queue's messages -> versions; each message is answered for by itself."""

from __future__ import annotations

import os

from aws_lambda_powertools.utilities.batch import EventType
from aws_lambda_powertools.utilities.data_classes import SQSEvent

from chromaseal.composition.functions import adopting, equipment, settings_of
from chromaseal.entrypoints.functions.telling import (
    Context,
    Event,
    count,
    left_s,
    logger,
    partial_answer,
    reserved_s,
    stops_at,
    told,
)
from chromaseal.errors import ChromasealError
from chromaseal.legacy.deltas import Adopted
from chromaseal.stream.batch import Batch, work_off
from chromaseal.stream.messages import Message, read

# From anywhere before the commit to the answer: layers stored, pointer moved, ledger told.
_RESERVE_S = 20.0


@told
def handler(event: Event, context: Context) -> Event:
    """Compact what waits in the collections that messages name, with their changes."""
    messages, left = _read(event)
    count("CompactionRecordsReceived", len(messages) + len(left))
    count("CompactionMessageParseError", len(left))
    here, reserve_s = equipment(settings_of(os.environ)), reserved_s(_RESERVE_S)
    batch = work_off(
        here.vault,
        messages,
        here.terms(context.aws_request_id, left_s(context, reserve_s)),
        labels_of=here.labels_of,
        adopt=adopting(here, os.environ.get("CHROMASEAL_ADOPT_FROM", ""), _tell_adopted),
        is_over=stops_at(context, reserve_s),
    )
    left |= batch.left
    _tell(batch, left)
    return partial_answer(event, EventType.SQS, left)


def _read(event: Event) -> tuple[dict[str, Message], dict[str, ChromasealError]]:
    messages: dict[str, Message] = {}
    left: dict[str, ChromasealError] = {}
    for record in SQSEvent(event).records:
        attributes = {
            name: str(each.string_value) for name, each in record.message_attributes.items()
        }
        try:
            messages[record.message_id] = read(record.body, attributes)
        except ChromasealError as error:
            left[record.message_id] = error
    return messages, left


def _tell_adopted(done: Adopted) -> None:
    count("CompactionRunsAdopted", done.error is None)
    facts = {"run_id": done.run_id, "status": done.status, "records": dict(done.records)}
    logger.info("adopted", extra=facts)


def _tell(batch: Batch, left: dict[str, ChromasealError]) -> None:
    for done in batch.done:
        count("CompactionDeltasMergedCount", len(done.merged))
        count("CompactionDeltaMergeError", len(done.failed))
        facts = {
            "collection": done.collection,
            "version_id": done.version.version_id if done.version else "",
            "merged": len(done.merged),
            "contained": len(done.contained),
            "failed": dict(done.failed),
            "durations_s": {name: round(each, 3) for name, each in done.durations_s.items()},
        }
        logger.info("compacted", extra=facts)
    count("CompactionCollectionUpdatesProcessed", batch.written)
    count("CompactionLockCollision", sum(error.kind == "leased" for error in left.values()))
    count("CompactionFailedMessages", len(left))
    count("CompactionPartialBatchFailure" if left else "CompactionLambdaSuccess")
