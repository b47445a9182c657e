"""Messages -> the queues of their collections, as many in a request as it takes.

A request has time limits, and is repeated a few times; what it had sent may then be there twice,
and whoever takes it from the queue knows it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chromaseal.adapters.aws.answers import code_of, said
from chromaseal.errors import ChromasealError, RefusedInput, Unavailable
from chromaseal.stream.messages import Message, attributes_of, body_of

_LIMITS: Final = Config(
    connect_timeout=5,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 4},
    tcp_keepalive=True,
)
_MOST: Final = 10
# A request may have a quarter of a megabyte, attributes and names included.
_MOST_BYTES: Final = 200_000
# What is refused for the message's own sake, and would be again.
_FINAL: Final = frozenset({"InvalidMessageContents", "InvalidParameterValue"})
_TOO_LONG: Final = "BatchRequestTooLong"


class SqsClient(Protocol):
    """What is asked of boto3's client."""

    def send_message_batch(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - boto3 has no types
        """Send up to ten messages; some may be refused."""
        ...


def connect() -> SqsClient:
    """Make a client, which asks nothing yet."""
    client: SqsClient = boto3.session.Session().client("sqs", config=_LIMITS)
    return client


class SqsQueues:
    """Sends to one queue per collection.

    Args:
        urls: of the queues, by collection.
        client: what sends.
    """

    def __init__(self, urls: Mapping[str, str], client: SqsClient) -> None:
        self._urls = dict(urls)
        self._client = client

    def send(self, messages: Sequence[Message]) -> list[ChromasealError | None]:
        """Send messages, each queue's in their order.

        Args:
            messages: of collections that have a queue.

        Returns:
            For each message why it was not sent; None where it was.
        """
        outcomes: list[ChromasealError | None] = [None] * len(messages)
        for collection, url in self._urls.items():
            mine = [place for place, each in enumerate(messages) if each.collection == collection]
            entries = [_entry(place, messages[place]) for place in mine]
            for group in _groups(entries):
                for place, why in self._sent(url, group).items():
                    outcomes[place] = why
        return outcomes

    def _sent(self, url: str, entries: list[dict[str, Any]]) -> dict[int, ChromasealError]:
        try:
            answer = self._client.send_message_batch(QueueUrl=url, Entries=entries)
        except (ClientError, BotoCoreError) as error:
            # A request that is too long with one message alone is too long for ever.
            final = len(entries) == 1 and code_of(error).endswith(_TOO_LONG)
            return {int(e["Id"]): _not_taken(url, said(error), is_final=final) for e in entries}
        return {
            int(each["Id"]): _not_taken(
                url,
                f"{each.get('Code')}: {each.get('Message', '')}",
                is_final=bool(each.get("SenderFault")) and each.get("Code") in _FINAL,
            )
            for each in answer.get("Failed", [])
        }


def _entry(place: int, message: Message) -> dict[str, Any]:
    attributes = {
        name: {"DataType": "String", "StringValue": value}
        for name, value in attributes_of(message).items()
    }
    return {
        "Id": str(place),
        "MessageBody": body_of(message),
        "MessageAttributes": attributes,
    }


def _groups(entries: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size_bytes = 0
    for entry in entries:
        own_bytes = len(entry["MessageBody"].encode())
        if group and (len(group) == _MOST or size_bytes + own_bytes > _MOST_BYTES):
            yield group
            group, size_bytes = [], 0
        group.append(entry)
        size_bytes += own_bytes
    if group:
        yield group


def _not_taken(url: str, why: str, *, is_final: bool) -> ChromasealError:
    name = url.rpartition("/")[2]
    if is_final:
        return RefusedInput(
            f"the queue {name} takes no such message: {why}",
            kind="bad-message",
            hint="what it tells of is too long, or has letters that no message can have",
        )
    return Unavailable(
        f"the queue {name} did not take a message: {why}",
        kind="queue-unavailable",
        hint="it is tried again; check the queue's URL, and what the function's role may do",
    )
