"""One DynamoDB table: consistent reads, conditional writes, retries that end.

Every request goes out once, with a time limit, and boto3 repeats none of them. What was
throttled, met another transaction, or was not answered is asked again here, later each time, and
for a bounded time. A write may have landed although its reply was lost, so every write is one
that can be repeated: a transaction carries a token by which DynamoDB knows it again, and each
condition is about what the writer has read. Whoever is refused reads back whose write it was.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoRegionError
from botocore.exceptions import ConnectionError as NoConnectionError

from chromaseal.adapters.aws.answers import code_of, said
from chromaseal.adapters.dynamodb.items import Item, Key
from chromaseal.adapters.dynamodb.place import Place
from chromaseal.clock import Clock
from chromaseal.errors import Unavailable, UsageError
from chromaseal.ids import Ids

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 10
_TRIES = 8
_TRIED_FOR_S = 30.0
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 2.0
_AT_ONCE = 16
_READ_AT_ONCE = 100
# The server's date has whole seconds, and a machine's clock may be that much off.
_TOLERANCE_S = 2.0
_QUICK_S = 1.0
_SERVER_ERROR = 500
_CANCELED = "TransactionCanceledException"
_REFUSED = "ConditionalCheckFailed"
_PASSING = {
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
}
_PASSING_REASONS = {
    "ProvisionedThroughputExceeded",
    "ThrottlingError",
    "TransactionConflict",
}

_Operation: TypeAlias = Callable[..., dict[str, Any]]


class Client(Protocol):
    """What is asked of boto3's client; items and values are plain, not DynamoDB's JSON."""

    def get_item(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - boto3 has no types
        """Read one item."""
        ...

    def batch_get_item(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401
        """Read up to 100 items."""
        ...

    def query(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401
        """Read a page of a partition."""
        ...

    def update_item(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401
        """Change one item."""
        ...

    def transact_write_items(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401
        """Write up to 100 items, or none."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def connect(place: Place) -> Client:
    """Make a client, which asks nothing yet.

    Raises:
        UsageError: ``bad-url``, neither the URL nor the environment names a region.
    """
    limits = Config(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
        max_pool_connections=_AT_ONCE,
        tcp_keepalive=True,
    )
    try:
        resource: Any = boto3.session.Session().resource(
            "dynamodb",
            region_name=place.region or None,
            endpoint_url=place.endpoint or None,
            config=limits,
        )
    except NoRegionError as error:
        raise UsageError(
            f"nothing says which region the table {place.table} is in",
            kind="bad-url",
            hint=f"dynamodb://{place.table}?region=REGION, or AWS_REGION",
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise UsageError(
            f"the table {place.table} cannot be asked: {error}",
            kind="bad-url",
            hint="check the endpoint, and the profile that AWS_PROFILE names",
        ) from error
    # A resource's client takes and gives plain values.
    client: Client = resource.meta.client
    return client


class Table:
    """A table with the keys ``PK`` and ``SK``, both texts.

    Args:
        place: where it is.
        client: what asks it.
        clock: for waiting, and for the time as long as it agrees with the server's.
        ids: for tokens and waits.
    """

    def __init__(self, place: Place, client: Client, *, clock: Clock, ids: Ids) -> None:
        self._place = place
        self._name = place.table
        self._client = client
        self._skew = dt.timedelta()
        self.clock = clock
        self.ids = ids

    @property
    def url(self) -> str:
        """Say where this is, without credentials."""
        region = f"?region={quote(self._place.region)}" if self._place.region else ""
        return f"dynamodb://{self._place.table}{region}"

    def now(self) -> dt.datetime:
        """Give the time: this machine's, or the server's where the two do not agree."""
        return self.clock.now() + self._skew

    def get(self, key: Key) -> Item | None:
        """Read one item as it is now.

        Raises:
            Unavailable: ``ledger-unavailable``, by this and everything else here.
        """
        answer = self._asked(
            self._client.get_item, TableName=self._name, Key=key, ConsistentRead=True
        )
        found: Item | None = answer.get("Item")
        return found

    def get_many(self, keys: Iterable[Key]) -> dict[tuple[str, str], Item]:
        """Read items as they are now, by their keys; those that are not there are left out."""
        found: dict[tuple[str, str], Item] = {}
        wanted = [*{(key["PK"], key["SK"]): key for key in keys}.values()]
        for start in range(0, len(wanted), _READ_AT_ONCE):
            for item in self._batch(wanted[start : start + _READ_AT_ONCE]):
                found[item["PK"], item["SK"]] = item
        return found

    def query(
        self,
        partition: str,
        *,
        prefix: str = "",
        newest_first: bool = False,
        page: int | None = None,
        index: str = "",
    ) -> Iterator[Item]:
        """Read a partition in the order of its sort keys, a page at a time, as it is then.

        Args:
            partition: which.
            prefix: only sort keys that begin with it.
            newest_first: the greatest sort key first.
            page: how many items one request reads; None for as many as an answer holds.
            index: of the table, whose keys are called after it; what it has may be out of date.
        """
        asked: dict[str, Any] = {
            "TableName": self._name,
            "KeyConditionExpression": f"{index}PK = :pk",
            "ExpressionAttributeValues": {":pk": partition},
            "ScanIndexForward": not newest_first,
            **({"IndexName": index} if index else {"ConsistentRead": True}),
        }
        if prefix:
            asked["KeyConditionExpression"] += f" AND begins_with({index}SK, :prefix)"
            asked["ExpressionAttributeValues"][":prefix"] = prefix
        if page is not None:
            asked["Limit"] = page
        while True:
            answer = self._asked(self._client.query, **asked)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            asked["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def change(
        self, key: Key, fields: Mapping[str, Any], *, condition: str, values: Mapping[str, Any]
    ) -> bool:
        """Set fields of one item, which may be new, if a condition holds.

        Args:
            key: which.
            fields: what to set.
            condition: an expression over fields as ``#name`` and values as ``:name``.
            values: of the condition.

        Returns:
            False where it did not hold. Repeated after a lost reply it may say so of its own
            write: read back.
        """
        named = {f"#{name}": name for name in fields}
        asked = {
            "TableName": self._name,
            "Key": key,
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :new_{name}" for name in fields),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": named,
            "ExpressionAttributeValues": {
                **{f":new_{name}": value for name, value in fields.items()},
                **{f":{name}": value for name, value in values.items()},
            },
        }
        return self._written(self._client.update_item, **asked)

    def transact(self, writes: Sequence[Mapping[str, Mapping[str, Any]]]) -> bool:
        """Write all or nothing, if every condition holds; at most 100 items.

        Returns:
            False where one did not hold; read back, as after ``change``.
        """
        named = [
            {verb: {"TableName": self._name, **asked} for verb, asked in write.items()}
            for write in writes
        ]
        token = self.ids.unique()
        return self._written(
            self._client.transact_write_items, TransactItems=named, ClientRequestToken=token
        )

    def pause(self, tries: int) -> None:
        """Wait before something is tried again: longer each time, and nobody as long as another.

        Args:
            tries: how often it was tried.
        """
        most_s = min(_FIRST_WAIT_S * 2**tries, _LONGEST_WAIT_S)
        self.clock.sleep(most_s * (0.1 + 0.9 * self.ids.fraction()))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _batch(self, keys: list[Key]) -> Iterator[Item]:
        name = self._name
        wanted: Any = {name: {"Keys": keys, "ConsistentRead": True}}
        for tries in itertools.count():
            answer = self._asked(self._client.batch_get_item, RequestItems=wanted)
            yield from answer["Responses"].get(name, [])
            wanted = answer.get("UnprocessedKeys")
            if not wanted:
                return
            # Some are left where the answer was full, or the table busy.
            if tries + 1 >= _TRIES and not answer["Responses"].get(name):
                raise self._unavailable("it answers with nothing of what it is asked for")
            self.pause(min(tries, _TRIES))

    def _written(self, ask: _Operation, **asked: Any) -> bool:  # noqa: ANN401 - what boto3 takes
        try:
            self._ask(ask, asked)
        except (ClientError, BotoCoreError) as error:
            if _is_refused(error):
                return False
            raise self._unavailable(said(error)) from error
        return True

    def _asked(self, ask: _Operation, **asked: Any) -> dict[str, Any]:  # noqa: ANN401
        try:
            return self._ask(ask, asked)
        except (ClientError, BotoCoreError) as error:
            raise self._unavailable(said(error)) from error

    def _ask(self, ask: _Operation, asked: dict[str, Any]) -> dict[str, Any]:
        begun_s = self.clock.monotonic_s()
        for tries in itertools.count():
            asked_s = self.clock.monotonic_s()
            try:
                answer = ask(**asked)
            except (ClientError, BotoCoreError) as error:
                late = self.clock.monotonic_s() - begun_s > _TRIED_FOR_S
                if late or tries + 1 >= _TRIES or not _is_passing(error):
                    raise
                if code_of(error) == _CANCELED:
                    # It is known to have done nothing: what follows is another transaction.
                    asked["ClientRequestToken"] = self.ids.unique()
                self.pause(tries)
            else:
                if self.clock.monotonic_s() - asked_s < _QUICK_S:
                    self._skew = skew(self.clock.now(), _date(answer))
                return answer
        raise AssertionError("unreachable")

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(
            f"the ledger {self.url} cannot be used: {why}",
            kind="ledger-unavailable",
            hint="check that the table is there, with the keys PK and SK; its region; and the "
            "environment's credentials and what they may do",
        )


def skew(here: dt.datetime, server: dt.datetime | None) -> dt.timedelta:
    """Give what makes this machine's time the server's; nothing where they agree.

    Args:
        here: this machine's time.
        server: the server's, in whole seconds; None where it did not say.
    """
    if server is None or abs((server - here).total_seconds()) <= _TOLERANCE_S:
        return dt.timedelta()
    return server - here


def _date(answer: Mapping[str, Any]) -> dt.datetime | None:
    text = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return parsedate_to_datetime(text).astimezone(dt.UTC)
    except (TypeError, ValueError):
        return None


def _reasons(error: Exception) -> Collection[str]:
    if not isinstance(error, ClientError):
        return ()
    return {str(each.get("Code")) for each in error.response.get("CancellationReasons", ())}


def _is_refused(error: Exception) -> bool:
    return code_of(error) == f"{_REFUSED}Exception" or _REFUSED in _reasons(error)


def _is_passing(error: Exception) -> bool:
    """Tell whether the same may be answered later."""
    if not isinstance(error, ClientError):
        return isinstance(error, NoConnectionError | HTTPClientError)
    if _is_refused(error):
        return False
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    passing = code_of(error) in _PASSING or not _PASSING_REASONS.isdisjoint(_reasons(error))
    return passing or status >= _SERVER_ERROR
