"""Queues that take what they are told to take, and answers of handlers as plain lists."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ConnectTimeoutError

URL = "https://sqs.us-east-1.amazonaws.com/123456789012"


class RecordedQueues:
    """A client of SQS that takes what it is told to take.

    Attributes:
        sent: what it was sent, by queue.
        refuses: positions of entries that it refuses; None for no answer at all.
    """

    def __init__(self) -> None:
        self.sent: dict[str, list[dict[str, Any]]] = {}
        self.refuses: set[str] | None = set()

    def send_message_batch(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3
        """Take a batch."""
        if self.refuses is None:
            raise ConnectTimeoutError(endpoint_url=URL)
        assert len(asked["Entries"]) <= 10
        taken = [each for each in asked["Entries"] if each["Id"] not in self.refuses]
        self.sent.setdefault(asked["QueueUrl"].rpartition("/")[2], []).extend(taken)
        return {"Failed": [{"Id": each, "Code": "Throttled"} for each in self.refuses]}


def left(answer: dict[str, Any]) -> list[str]:
    """Give what a handler's answer asks to have again."""
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]
