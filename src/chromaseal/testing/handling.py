"""What handlers of one run are given, the queues that they send to, and what they answer."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ConnectTimeoutError

from chromaseal.clock import SystemClock
from chromaseal.stream.messages import Message
from chromaseal.stream.table import EntityType
from chromaseal.testing.aws_events import InvocationContext
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

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


def context(*, timeout_s: float = 900.0) -> InvocationContext:
    """Give what Lambda hands in beside an event."""
    return InvocationContext("invocation-1", SystemClock(), timeout_s=timeout_s)


def write(vault: Vault, run_id: str) -> None:
    """Let a run of lines wait."""
    vault.write({"lines": upserts(record(run_id))}, run_id=run_id)


def message(run_id: str) -> Message:
    """Give a run's message."""
    now = SystemClock().now().isoformat()
    return Message("lines", EntityType.COMPACTION_RUN, "INSERT", {"run_id": run_id}, now, run_id)


def left(answer: dict[str, Any]) -> list[str]:
    """Give what a handler's answer asks to have again."""
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]
