"""Events and contexts of AWS Lambda, as its services make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_plus

from boto3.dynamodb.types import TypeSerializer

from chromaseal.clock import Clock
from chromaseal.stream.messages import Message, attributes_of, body_of
from chromaseal.testing.event_names import event_name

REGION = "us-east-1"
_ACCOUNT = "123456789012"
_TYPED: Final = TypeSerializer()


class InvocationContext:
    """What Lambda hands to a handler beside the event.

    Args:
        request_id: of the invocation.
        clock: by which its time runs out.
        timeout_s: how long it may take.
    """

    function_name = "function"
    memory_limit_in_mb = 1024
    invoked_function_arn = f"arn:aws:lambda:{REGION}:{_ACCOUNT}:function:function"

    def __init__(self, request_id: str, clock: Clock, *, timeout_s: float = 900.0) -> None:
        self.aws_request_id = request_id
        self._clock = clock
        self._end_s = clock.monotonic_s() + timeout_s

    def get_remaining_time_in_millis(self) -> int:
        """Tell how long it may go on."""
        return max(0, int((self._end_s - self._clock.monotonic_s()) * 1000))


def stream_record(
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    *,
    number: int,
    created_s: float,
) -> dict[str, Any]:
    """Give a record of a table's stream with both images.

    Args:
        before: the item, plain; None where it was not there.
        after: the item, plain; None where it is gone.
        number: the sequence number.
        created_s: seconds since the epoch; the stream tells whole ones.
    """
    item = after or before or {}
    told: dict[str, Any] = {
        "ApproximateCreationDateTime": int(created_s),
        "Keys": {name: _TYPED.serialize(item[name]) for name in ("PK", "SK")},
        "SequenceNumber": f"{number:021d}",
        "SizeBytes": 100,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if after is not None:
        told["NewImage"] = _TYPED.serialize(after)["M"]
    if before is not None:
        told["OldImage"] = _TYPED.serialize(before)["M"]
    return {
        "eventID": f"event-{number}",
        "eventName": event_name(before, after),
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": REGION,
        "dynamodb": told,
        "eventSourceARN": f"arn:aws:dynamodb:{REGION}:{_ACCOUNT}:table/t/stream/1",
    }


def queue_record(
    message_id: str, body: str, attributes: Mapping[str, str], *, receives: int = 1
) -> dict[str, Any]:
    """Give a message of a queue as a mapping delivers it.

    Args:
        message_id: the same for each delivery.
        body: its text.
        attributes: texts.
        receives: how often it has been delivered.
    """
    return {
        "messageId": message_id,
        "receiptHandle": f"{message_id}/{receives}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": str(receives)},
        "messageAttributes": {
            name: {"stringValue": value, "dataType": "String"} for name, value in attributes.items()
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{_ACCOUNT}:{attributes.get('collection', 'q')}",
        "awsRegion": REGION,
    }


def queue_event(messages: Mapping[str, Message]) -> dict[str, Any]:
    """Give a batch of messages, by their ids."""
    return {
        "Records": [
            queue_record(message_id, body_of(message), attributes_of(message))
            for message_id, message in messages.items()
        ]
    }


def bucket_event(bucket: str, names: Sequence[str]) -> dict[str, Any]:
    """Give a notification of objects that were created."""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": REGION,
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(name, safe="/")}},
            }
            for name in names
        ]
    }
