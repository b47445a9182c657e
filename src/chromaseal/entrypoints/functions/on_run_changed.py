"""The table's stream -> messages for the queues of the collections that a change concerns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from aws_lambda_powertools.utilities.batch import EventType
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBRecord

from chromaseal.composition.functions import queue_urls, sender
from chromaseal.entrypoints.functions.set_aside import set_aside
from chromaseal.entrypoints.functions.telling import (
    Context,
    Event,
    count,
    logger,
    partial_answer,
    told,
)
from chromaseal.errors import ChromasealError, RefusedInput, UsageError
from chromaseal.stream.messages import Message
from chromaseal.stream.table import LINES, WORDS
from chromaseal.stream.translation import TableChange, messages_of


@told
def handler(event: Event, _context: Context) -> Event:
    """Send what the records of one batch have to tell; what was not sent is delivered again.

    What can never be sent is set aside, or it would hold up all that comes after it.
    """
    _check_queues()
    records = list(event["Records"])
    count("StreamRecordsReceived", len(records))
    left: dict[str, ChromasealError] = {}
    messages: list[tuple[str, Message]] = []
    for record in records:
        number = str(record["dynamodb"]["SequenceNumber"])
        try:
            messages += [(number, each) for each in _messages(record)]
        except ChromasealError as error:
            count("StreamRecordParsingError")
            left[number] = error
    left |= _send(messages)
    by_number = {str(each["dynamodb"]["SequenceNumber"]): each for each in records}
    left = set_aside(by_number, left, os.environ)
    count("StreamRecordsProcessed", len(records) - len(left))
    return partial_answer(event, EventType.DynamoDBStreams, left)


def _check_queues() -> None:
    missing = {LINES, WORDS} - queue_urls(os.environ).keys()
    if missing:
        raise UsageError(
            f"nothing says where the queue of {', '.join(sorted(missing))} is",
            kind="bad-settings",
            hint="set LINES_QUEUE_URL and WORDS_QUEUE_URL in the function's environment",
        )


def _send(messages: list[tuple[str, Message]]) -> dict[str, ChromasealError]:
    """Give why, by sequence number, for the records of which something was not sent."""
    if not messages:
        return {}
    outcomes = sender(os.environ)([message for _, message in messages])
    failed = {
        number: why for (number, _), why in zip(messages, outcomes, strict=True) if why is not None
    }
    not_sent = sum(why is not None for why in outcomes)
    count("SQSMessagesSuccessful", len(messages) - not_sent)
    count("SQSMessagesFailed", not_sent)
    return failed


def _messages(record: dict[str, Any]) -> Iterator[Message]:
    try:
        found = messages_of(_change(record))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RefusedInput(
            f"a record of the stream cannot be understood: {type(error).__name__}: {error}",
            kind="bad-message",
            hint="it is set aside in the vault; docs/aws.md says how it is delivered by hand",
        ) from error
    known = queue_urls(os.environ)
    for message in found:
        if message.collection in known:
            count("StreamMessageCreated")
            yield message
        else:
            # Its runs wait in the ledger; whoever compacts it looks there.
            logger.info("no queue", extra={"collection": message.collection})


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
