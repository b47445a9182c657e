"""Tables on a test server, laid out as the deployed ones are, and a client that fails as told.

Covered, each at any one request: throttled; no answer and nothing done; a transaction that meets
another; a write that lands while its reply is lost, as a closed connection, as the server's
error, or as the refusal that a repetition meets; a batch that is answered in part; an item of a
transaction that is not to be seen yet. Not covered: a
write that lands only after its writer has given up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import boto3
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from chromaseal.adapters.dynamodb.table import Client
from chromaseal.testing.servers import S3Server

REGION = "us-east-1"
_WRITES = ("update_item", "transact_write_items")
_READS = ("get_item", "query", "batch_get_item")


def credentials(server: S3Server) -> dict[str, str]:
    """Give what a process needs in its environment to ask the server."""
    return {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}


def make_table(server: S3Server, name: str) -> str:
    """Make an empty table with the keys, indexes and stream of the deployed one.

    Returns:
        Its URL, which names the server.
    """
    client = boto3.client(
        "dynamodb",
        endpoint_url=server.endpoint,
        region_name=REGION,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )
    indexes = {f"GSI{n}": (f"GSI{n}PK", f"GSI{n}SK") for n in range(1, 5)} | {"GSITYPE": ("TYPE",)}
    names = ["PK", "SK", *(name for keys in indexes.values() for name in keys)]
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in names],
        KeySchema=_schema("PK", "SK"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": _schema(*keys),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index, keys in indexes.items()
        ],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    client.close()
    return f"dynamodb://{name}?region={REGION}&endpoint={server.endpoint}"


class TableFault(StrEnum):
    """What goes wrong with one request."""

    THROTTLED = "throttled"
    NO_ANSWER = "no-answer"
    CONFLICT = "conflict"
    LOST_REPLY = "lost-reply"
    SERVER_ERROR = "server-error"
    FALSE_REFUSAL = "false-refusal"
    PARTLY = "partly"
    UNSEEN = "unseen"

    def strikes(self, operation: str) -> bool:
        """Whether this can happen to an operation of that name."""
        return operation in _OPERATIONS.get(self, (*_WRITES, *_READS))


_OPERATIONS = {
    TableFault.CONFLICT: ("transact_write_items",),
    TableFault.LOST_REPLY: _WRITES,
    TableFault.SERVER_ERROR: _WRITES,
    TableFault.FALSE_REFUSAL: _WRITES,
    TableFault.PARTLY: ("batch_get_item",),
    TableFault.UNSEEN: ("get_item",),
}
# The server has done what it was asked before these are told.
_LANDED = {TableFault.LOST_REPLY, TableFault.SERVER_ERROR, TableFault.FALSE_REFUSAL}


@dataclass(frozen=True, slots=True)
class TableFired:
    """A fault that happened."""

    fault: TableFault
    operation: str


class FaultyClient:
    """A client around another one; without faults it is the other one.

    Args:
        inner: who really asks.
    """

    def __init__(self, inner: Client) -> None:
        self._inner = inner
        self._planned: list[tuple[TableFault, int]] = []
        self._lock = threading.Lock()
        self.fired: list[TableFired] = []
        self.asked: list[str] = []

    def plan(self, fault: TableFault, *, after: int = 0, times: int = 1) -> None:
        """Let requests fail.

        Args:
            fault: what goes wrong.
            after: how many of the coming requests that it can strike pass unharmed.
            times: how many fail then, one after the other.
        """
        with self._lock:
            self._planned += [(fault, after)] * times

    def get_item(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3
        """Read one item, or fail as planned."""
        return self._ask("get_item", self._inner.get_item, asked)

    def batch_get_item(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401
        """Read items, or fail as planned."""
        return self._ask("batch_get_item", self._inner.batch_get_item, asked)

    def query(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401
        """Read a page, or fail as planned."""
        return self._ask("query", self._inner.query, asked)

    def update_item(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401
        """Change an item, or fail as planned."""
        return self._ask("update_item", self._inner.update_item, asked)

    def transact_write_items(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401
        """Write items, or fail as planned."""
        return self._ask("transact_write_items", self._inner.transact_write_items, asked)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def _ask(
        self, operation: str, ask: Callable[..., dict[str, Any]], asked: dict[str, Any]
    ) -> dict[str, Any]:
        fault = self._begin(operation)
        if fault is TableFault.PARTLY:
            return _partly(ask, asked)
        if fault is TableFault.UNSEEN:
            return {}
        if fault is None or fault in _LANDED:
            answer = ask(**asked)
            if fault is None:
                return answer
        raise _error(fault, operation)

    def _begin(self, operation: str) -> TableFault | None:
        with self._lock:
            self.asked.append(operation)
            for place, (fault, after) in enumerate(self._planned):
                if not fault.strikes(operation):
                    continue
                if after:
                    self._planned[place] = (fault, after - 1)
                    continue
                del self._planned[place]
                self.fired.append(TableFired(fault, operation))
                return fault
        return None


def _partly(ask: Callable[..., dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any]:
    """Answer for one key, and give the others back."""
    ((table, wanted),) = asked["RequestItems"].items()
    first, *rest = wanted["Keys"]
    answer = ask(RequestItems={table: {**wanted, "Keys": [first]}})
    left = {table: {**wanted, "Keys": rest}} if rest else {}
    return {**answer, "UnprocessedKeys": left}


def _error(fault: TableFault, operation: str) -> Exception:
    error: Exception
    if fault is TableFault.NO_ANSWER:
        error = EndpointConnectionError(endpoint_url="nowhere")
    elif fault is TableFault.LOST_REPLY:
        error = ConnectionClosedError(endpoint_url="somewhere")
    else:
        error = _answer(fault, operation)
    return error


def _answer(fault: TableFault, operation: str) -> Exception:
    if fault is TableFault.SERVER_ERROR:
        return _answered("InternalServerError", operation, status=500)
    if fault is TableFault.THROTTLED:
        return _answered("ThrottlingException", operation)
    reason = "TransactionConflict" if fault is TableFault.CONFLICT else "ConditionalCheckFailed"
    if operation == "update_item":
        return _answered(f"{reason}Exception", operation)
    return _answered("TransactionCanceledException", operation, reasons=("None", reason))


def _answered(
    code: str, operation: str, *, status: int = 400, reasons: tuple[str, ...] = ()
) -> Exception:
    response = {
        "Error": {"Code": code, "Message": f"planned for {operation}"},
        "ResponseMetadata": {"HTTPStatusCode": status},
        "CancellationReasons": [{"Code": reason} for reason in reasons],
    }
    error: Exception = ClientError(response, operation)
    return error


def _schema(*names: str) -> list[dict[str, str]]:
    kinds = zip(names, ("HASH", "RANGE"), strict=False)
    return [{"AttributeName": name, "KeyType": kind} for name, kind in kinds]
