"""The table's stream -> messages for the queues of the collections that a change concerns."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

from aws_lambda_powertools.utilities.batch import EventType
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBRecord

from chromaseal.composition.functions import queue_urls, records_store, sender
from chromaseal.entrypoints.functions.telling import (
    Context,
    Event,
    count,
    log_error,
    logger,
    partial_answer,
    told,
)
from chromaseal.errors import ChromasealError, RefusedInput, UsageError
from chromaseal.stream.announcing import Announced, PutAside, announce, store_aside
from chromaseal.stream.messages import Message
from chromaseal.stream.table import LINES, WORDS
from chromaseal.stream.translation import TableChange


@told
def handler(event: Event, _context: Context) -> Event:
    """Send what the records of one batch have to tell; what was not sent is delivered again.

    What can never be sent is set aside, or it would hold up all that comes after it.
    """
    _check_queues()
    records = {str(each["dynamodb"]["SequenceNumber"]): each for each in event["Records"]}
    count("StreamRecordsReceived", len(records))
    done = announce(
        {number: functools.partial(_change, each) for number, each in records.items()},
        queue_urls(os.environ).keys(),
        _send,
        _putting_aside(records) if os.environ.get("CHROMASEAL_VAULT") else None,
    )
    _tell(done, len(records))
    return partial_answer(event, EventType.DynamoDBStreams, done.left)


def _send(messages: Sequence[Message]) -> Sequence[ChromasealError | None]:
    # Most changes tell nobody, and a client takes a while to make.
    return sender(os.environ)(messages)


def _putting_aside(records: dict[str, Any]) -> PutAside:
    def put_aside(number: str, error: RefusedInput) -> None:
        key = store_aside(records_store(os.environ), number, records[number], error)
        count("StreamRecordsSetAside")
        log_error("set aside", error, key=key, sequence_number=number)

    return put_aside


def _tell(done: Announced, received: int) -> None:
    for collection in done.without_queue:
        # Its runs wait in the ledger; whoever compacts it looks there.
        logger.info("no queue", extra={"collection": collection})
    count("StreamRecordParsingError", done.unread)
    count("StreamMessageCreated", done.sent + done.not_sent)
    count("SQSMessagesSuccessful", done.sent)
    count("SQSMessagesFailed", done.not_sent)
    count("StreamRecordsProcessed", received - len(done.left))


def _check_queues() -> None:
    missing = {LINES, WORDS} - queue_urls(os.environ).keys()
    if missing:
        raise UsageError(
            f"nothing says where the queue of {', '.join(sorted(missing))} is",
            kind="bad-settings",
            hint="set LINES_QUEUE_URL and WORDS_QUEUE_URL in the function's environment",
        )


def _change(record: dict[str, Any]) -> TableChange:
    typed = DynamoDBRecord(record)
    told_by = typed.dynamodb
    if told_by is None or typed.event_name is None:
        raise KeyError("dynamodb, eventName")
    return TableChange(
        event_name=typed.event_name.name,
        partition=str(told_by.keys["PK"]),
        sort=str(told_by.keys["SK"]),
        before=told_by.old_image or None,
        after=told_by.new_image or None,
        record_id=str(typed.event_id),
        sequence_number=str(told_by.sequence_number),
        created_s=told_by.approximate_creation_date_time or 0,
        region=typed.aws_region or "",
    )
