"""The function of the table's stream, given records as AWS gives them, and what sends for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chromaseal import keys
from chromaseal.adapters.dynamodb.items import run_item
from chromaseal.adapters.sqs import queues
from chromaseal.adapters.sqs.queues import SqsQueues
from chromaseal.composition.engine import open_vault
from chromaseal.entrypoints.functions import on_run_changed
from chromaseal.errors import UsageError
from chromaseal.settings import Settings
from chromaseal.testing.aws_events import stream_record
from chromaseal.testing.handling import URL, RecordedQueues, context, left, message, write
from chromaseal.vault import Vault


def test_runs_of_the_stream_are_told_to_the_queues(client: RecordedQueues, vault: Vault) -> None:
    """A batch of runs, each to each of its collections, in their order."""
    for number in range(12):
        write(vault, f"run-{number:02d}")
    runs = reversed(vault.parts.ledger.newest())
    records = [
        stream_record(None, run_item(run, "w"), number=number, created_s=1_764_352_800.7)
        for number, run in enumerate(runs)
    ]
    assert left(on_run_changed.handler({"Records": records}, context())) == []
    told = [
        json.loads(each["MessageBody"])["entity_data"]["run_id"] for each in client.sent["lines"]
    ]
    assert told == [f"run-{number:02d}" for number in range(12)]
    assert set(client.sent) == {"lines"}


@pytest.mark.parametrize("refuses", [{"1"}, None])
def test_what_no_queue_took_is_delivered_again(
    client: RecordedQueues,
    refuses: set[str] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record of which one message was refused, or all without an answer; none is set aside."""
    monkeypatch.setenv("CHROMASEAL_VAULT", str(tmp_path / "vault"))
    client.refuses = refuses
    place = {"PK": "IMAGE#i", "SK": "RECEIPT#00001#PLACE"}
    records = [
        stream_record(
            {**place, "place_id": "a"}, {**place, "place_id": "b"}, number=n, created_s=1.0
        )
        for n in (1, 2)
    ]
    again = left(on_run_changed.handler({"Records": records}, context()))
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
    assert again == (numbers if refuses is None else numbers[:1])
    assert not (tmp_path / "vault" / keys.SET_ASIDE).exists()


def removed_and_odd() -> list[dict[str, Any]]:
    """Give a record of a receipt that was removed, and one that nobody can understand."""
    good = stream_record({"PK": "IMAGE#i", "SK": "RECEIPT#00001"}, None, number=1, created_s=1.0)
    bad = stream_record({"PK": "CHROMASEAL#RUN#a", "SK": "RUN"}, None, number=2, created_s=1.0)
    bad["dynamodb"]["NewImage"] = {"parts": {"S": "none"}}
    return [bad, good]


def test_a_record_that_is_none_holds_up_no_other(
    client: RecordedQueues, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the vault with its content, to be delivered by hand once somebody has mended it."""
    monkeypatch.setenv("CHROMASEAL_VAULT", str(tmp_path / "vault"))
    bad, good = removed_and_odd()
    for _ in range(2):
        assert left(on_run_changed.handler({"Records": [bad, good]}, context())) == []
    assert {name: len(sent) for name, sent in client.sent.items()} == {"lines": 2, "words": 2}
    (kept,) = (tmp_path / "vault" / keys.SET_ASIDE).iterdir()
    event = json.loads(kept.read_text())
    assert event["Records"] == [bad]
    assert "cannot be understood" in event["reason"]
    del event["Records"][0]["dynamodb"]["NewImage"]
    assert left(on_run_changed.handler(event, context())) == []
    assert len(list((tmp_path / "vault" / keys.SET_ASIDE).iterdir())) == 1
    # What was kept before the first write keeps nobody from making the vault.
    settings = Settings(f"file://{tmp_path / 'vault'}", "memory://", tmp_path / "cache")
    with open_vault(settings) as vault:
        write(vault, "a")
        assert vault.compact()


def test_what_cannot_be_set_aside_is_delivered_again(
    client: RecordedQueues, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the vault does not answer, and where no function was told of one."""
    bad, good = removed_and_odd()
    number = bad["dynamodb"]["SequenceNumber"]
    assert left(on_run_changed.handler({"Records": [bad, good]}, context())) == [number]
    (tmp_path / "vault").write_text("a file in its place")
    monkeypatch.setenv("CHROMASEAL_VAULT", str(tmp_path / "vault"))
    assert left(on_run_changed.handler({"Records": [bad, good]}, context())) == [number]
    assert set(client.sent) == {"lines", "words"}


@pytest.mark.parametrize(
    ("failed", "kind"),
    [
        ({"Code": "InvalidMessageContents", "SenderFault": True}, "bad-message"),
        ({"Code": "InvalidMessageContents", "SenderFault": False}, "queue-unavailable"),
        ({"Code": "KMS.DisabledException", "SenderFault": True}, "queue-unavailable"),
        ("AWS.SimpleQueueService.BatchRequestTooLong", "bad-message"),
        ("AccessDenied", "queue-unavailable"),
    ],
)
def test_what_no_queue_can_take_is_told_from_what_it_did_not_take(
    failed: dict[str, Any] | str, kind: str
) -> None:
    """The one is set aside, the other tried again."""

    class Refusing:
        def send_message_batch(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3
            if isinstance(failed, str):
                raise ClientError({"Error": {"Code": failed}}, "SendMessageBatch")
            return {"Failed": [{"Id": each["Id"], **failed} for each in asked["Entries"]]}

    (why,) = SqsQueues({"lines": f"{URL}/lines"}, Refusing()).send([message("a")])
    assert why is not None
    assert why.kind == kind


def test_a_request_that_is_too_long_with_others_is_no_fault_of_each() -> None:
    """One of them may be taken by itself, so all are tried again."""

    class TooLong:
        def send_message_batch(self, **_: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3
            code = "AWS.SimpleQueueService.BatchRequestTooLong"
            raise ClientError({"Error": {"Code": code}}, "SendMessageBatch")

    outcomes = SqsQueues({"lines": f"{URL}/lines"}, TooLong()).send([message("a"), message("b")])
    assert [why.kind for why in outcomes if why] == ["queue-unavailable"] * 2


def test_a_function_that_knows_no_queue_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it takes anything from the stream for told."""
    monkeypatch.delenv("LINES_QUEUE_URL", raising=False)
    with pytest.raises(UsageError) as caught:
        on_run_changed.handler({"Records": []}, context())
    assert caught.value.kind == "bad-settings"


def test_a_request_to_a_queue_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a time limit, and is repeated a few times at most."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made: Any = queues.connect()
    limits = made.meta.config
    assert (limits.connect_timeout, limits.read_timeout) == (5, 10)
    assert limits.retries["total_max_attempts"] == 4
    made.close()


def test_a_request_has_no_more_than_a_queue_takes() -> None:
    """Ten messages at most, and a quarter of a megabyte."""
    client = RecordedQueues()
    big = [message("a" * 90_000) for _ in range(3)]
    assert SqsQueues({"lines": f"{URL}/lines"}, client).send(big) == [None] * 3
    assert len(client.sent["lines"]) == 3
