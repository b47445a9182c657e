"""What only a ledger in DynamoDB promises: a shared table, few requests, no secret in a message."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from chromaseal.adapters.dynamodb import items, transactions
from chromaseal.adapters.dynamodb.ledger import DynamoLedger
from chromaseal.adapters.dynamodb.place import Place, parse
from chromaseal.adapters.dynamodb.table import Table, connect, skew
from chromaseal.clock import Clock, SystemClock
from chromaseal.composition.engine import open_ledger
from chromaseal.errors import (
    ChromasealError,
    Conflict,
    RefusedInput,
    Unavailable,
    Unsupported,
    UsageError,
)
from chromaseal.ids import SystemIds
from chromaseal.run.model import Run, RunState
from chromaseal.settings import without_secrets
from chromaseal.testing.clock import START, ManualClock
from chromaseal.testing.dynamodb import FaultyClient
from chromaseal.testing.ledger_contract import NOW, pending_run

RUN_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
IMAGE_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
RUN_KEY = {"PK": f"IMAGE#{IMAGE_ID}", "SK": f"RECEIPT#00007#COMPACTION_RUN#{RUN_ID}"}
BOTH = ("lines", "words")


def opened(client: FaultyClient, url: str, *, clock: Clock | None = None) -> DynamoLedger:
    """Open a ledger through a client."""
    return DynamoLedger(Table(parse(url), client, clock=clock or SystemClock(), ids=SystemIds()))


@pytest.fixture
def client(dynamodb_url: str) -> Iterator[FaultyClient]:
    """Give a client that counts what it is asked."""
    with closing(FaultyClient(connect(parse(dynamodb_url)))) as client:
        yield client


@pytest.fixture
def ledger(client: FaultyClient, dynamodb_url: str) -> DynamoLedger:
    """Give an empty ledger."""
    return opened(client, dynamodb_url)


def receipt_run() -> Run:
    """Make a run that other programs of the table can read."""
    run = pending_run(RUN_ID, collections=BOTH)
    return replace(run, attributes={"image_id": IMAGE_ID, "receipt_id": "7"})


def read(table: Any) -> dict[str, Any]:  # noqa: ANN401
    """Give the run as it is in the table."""
    item: dict[str, Any] = table.get_item(Key=RUN_KEY, ConsistentRead=True)["Item"]
    return item


def test_a_receipts_run_is_the_one_that_others_read(ledger: DynamoLedger, table: Any) -> None:  # noqa: ANN401
    """Its key, its indexes and its fields are the deployed table's; NULL is what is not there."""
    ledger.add(receipt_run())
    found = table.query(
        IndexName="GSI1",
        KeyConditionExpression="GSI1PK = :runs",
        ExpressionAttributeValues={":runs": "RUNS"},
    )["Items"]
    assert found == [read(table)]
    expected: dict[str, Any] = {
        **RUN_KEY,
        "TYPE": "COMPACTION_RUN",
        "GSI1PK": "RUNS",
        "GSI1SK": "CREATED_AT#2026-11-23T11:00:00.000000Z",
        "run_id": RUN_ID,
        "image_id": IMAGE_ID,
        "receipt_id": 7,
        "created_at": "2026-11-23T11:00:00.000000Z",
        "updated_at": None,
    }
    for name in BOTH:
        expected |= {
            f"{name}_delta_prefix": "lines/delta/any/",
            f"{name}_state": "PENDING",
            f"{name}_started_at": None,
            f"{name}_finished_at": None,
            f"{name}_error": None,
            f"{name}_merged_vectors": 0,
        }
    own = {"format", "attributes", "parts"}
    assert {name: value for name, value in found[0].items() if name not in own} == expected
    assert own <= found[0].keys()


def test_others_see_how_far_a_run_is(ledger: DynamoLedger, table: Any) -> None:  # noqa: ANN401
    """In the four states that they know: MERGING is PROCESSING, and CANCELLED is FAILED."""
    ledger.add(receipt_run())
    waits = [RunState.PENDING, RunState.MERGING]

    def moved(collection: str, to: RunState) -> list[Any]:
        assert ledger.move([RUN_ID], collection, states=waits, to=to, at=NOW) == 1
        fields = ("state", "started_at", "finished_at", "error", "merged_vectors")
        item = read(table)
        assert item["updated_at"] == NOW
        return [item[f"{collection}_{field}"] for field in fields]

    assert moved("lines", RunState.MERGING) == ["PROCESSING", NOW, None, None, 0]
    assert moved("lines", RunState.COMPLETED) == ["COMPLETED", NOW, NOW, None, 2]
    assert moved("words", RunState.CANCELLED) == ["FAILED", None, NOW, "cancelled", 0]
    kept = ledger.get(RUN_ID)
    assert kept is not None
    assert kept.parts["words"].state is RunState.CANCELLED


@pytest.mark.parametrize(
    "run",
    [
        pending_run(RUN_ID, collections=BOTH),
        replace(receipt_run(), run_id="no-uuid"),
        replace(receipt_run(), attributes={"image_id": IMAGE_ID, "receipt_id": "0"}),
        replace(
            receipt_run(),
            attributes={"image_id": IMAGE_ID.replace("-41", "-51")} | {"receipt_id": "1"},
        ),
        replace(receipt_run(), parts=pending_run("a").parts),
    ],
    ids=["no-receipt", "run-id", "receipt-id", "image-id", "one-collection"],
)
def test_what_others_cannot_read_they_do_not_see(run: Run) -> None:
    """They raise over a run of another kind, so it has a key that they never ask for."""
    item = items.run_item(run, "w")
    assert item["PK"].startswith("CHROMASEAL#")
    assert not {"TYPE", "GSI1PK", "lines_state"} & item.keys()


def test_what_others_wrote_stays_theirs(ledger: DynamoLedger, table: Any) -> None:  # noqa: ANN401
    """A run of another program is no run of this ledger, and is not written over."""
    theirs = {**RUN_KEY, "TYPE": "COMPACTION_RUN", "run_id": RUN_ID, "GSI1PK": "RUNS"}
    table.put_item(Item={**theirs, "GSI1SK": "CREATED_AT#2025-11-23T11:00:00"})
    assert ledger.newest() == []
    assert ledger.get(RUN_ID) is None
    with pytest.raises(Conflict) as caught:
        ledger.add(receipt_run())
    assert caught.value.kind == "foreign-run"
    assert read(table).keys() == {*theirs, "GSI1SK"}
    assert ledger.counts("lines")[RunState.PENDING] == 0


def test_a_run_that_somebody_deleted_can_be_added_again(ledger: DynamoLedger, table: Any) -> None:  # noqa: ANN401
    """Whoever deletes an image's items deletes its runs; the vault brings them back."""
    run = receipt_run()
    ledger.add(run)
    table.delete_item(Key=RUN_KEY)
    assert ledger.get(RUN_ID) is None
    assert ledger.waiting("lines") == ledger.newest() == ledger.with_prefix("0f") == []
    assert ledger.move([RUN_ID], "lines", states=[*RunState], to=RunState.FAILED, at=NOW) == 0
    assert ledger.add(run)
    assert not ledger.add(run)
    assert ledger.waiting("lines") == ledger.newest() == [run]


def test_lists_are_read_by_pages(ledger: DynamoLedger) -> None:
    """What does not fit into one answer is asked for again, and only as far as it is needed."""
    runs = [pending_run(f"r{n:03d}", second=n % 60, collections=("a",)) for n in range(110)]
    for run in runs:
        ledger.add(run)
    by_age = sorted(runs, key=lambda run: (run.created_at, run.run_id))
    assert ledger.waiting("a") == by_age
    assert ledger.newest(limit=1_000_000) == by_age[::-1]
    assert ledger.newest(collection="a", limit=3) == by_age[:-4:-1]
    ids = [run.run_id for run in by_age]
    waits = [RunState.PENDING]
    assert ledger.move(ids[:105], "a", states=waits, to=RunState.MERGING, at=NOW) == 105
    # They share a list with those that are being merged, all of which are older.
    assert ledger.newest(state=RunState.PENDING) == by_age[:104:-1]
    assert ledger.waiting("a", limit=2)[0].parts["a"].state is RunState.MERGING


def test_every_verb_takes_few_requests(ledger: DynamoLedger, client: FaultyClient) -> None:
    """However many runs there are; and nothing scans the table."""

    def asked(verb: Callable[[], object]) -> Counter[str]:
        client.asked.clear()
        verb()
        return Counter(client.asked)

    def move(to: RunState) -> Callable[[], object]:
        ids = [f"r{number:02d}" for number in range(40)]
        return lambda: ledger.move(ids, "a", states=[*RunState], to=to, at=NOW)

    write, reads, query, get = "transact_write_items", "batch_get_item", "query", "get_item"
    for number in range(40):
        run = pending_run(f"r{number:02d}", second=number, collections=("a", "b"))
        assert asked(lambda run=run: ledger.add(run)) == {write: 1}  # type: ignore[misc]
    assert asked(lambda: ledger.add(pending_run("r00"))) == {write: 1, get: 2}
    assert asked(lambda: ledger.get("r01")) == {reads: 2}
    assert asked(lambda: ledger.waiting("a")) == {query: 1, reads: 1}
    assert asked(lambda: ledger.counts("a")) == {query: 1}
    assert asked(lambda: ledger.find("image_id", "r01")) == {query: 1, reads: 1}
    assert asked(lambda: ledger.with_prefix("r0")) == {query: 1, reads: 1}
    assert asked(lambda: ledger.newest(collection="a", state=RunState.FAILED)) == {query: 1}
    assert asked(lambda: ledger.newest(collection="a", limit=5))[query] == 4
    # A part that goes on waiting is one write, one that leaves is three.
    assert asked(move(RunState.MERGING)) == {reads: 2, write: 1}
    assert asked(move(RunState.COMPLETED)) == {reads: 2, write: 2}
    lease = ledger.acquire("a", "me", duration_s=60)
    assert lease is not None
    assert asked(lambda: ledger.renew(lease, duration_s=60)) == {"update_item": 1}
    with ledger.listen(["a"]) as listener:
        assert asked(lambda: listener.wait(0)) == {query: 1}


def test_a_machine_that_is_wrong_about_the_time_goes_by_the_servers(
    ledger: DynamoLedger, dynamodb_url: str
) -> None:
    """A lease is as long for a machine whose clock is days off as for all others."""
    clock = ManualClock()
    with closing(FaultyClient(connect(parse(dynamodb_url)))) as client:
        astray = opened(client, dynamodb_url, clock=clock)
        for clock_is in (START, START + dt.timedelta(days=1000), START - dt.timedelta(days=1000)):
            clock.set(clock_is)
            held = ledger.acquire("notes", "me", duration_s=60)
            assert held is not None
            assert astray.acquire("notes", "you", duration_s=60) is None
            seen = astray.holder("notes")
            assert seen is not None
            assert 50 < seen.expires_in_s < 70
            ledger.release(held)
            assert astray.holder("notes") is None


def test_the_servers_date_counts_from_two_seconds_on() -> None:
    """It has whole seconds only, so a clock that agrees is the better one."""
    for seconds, expected in ((0, 0), (1.9, 0), (-1.9, 0), (3, 3), (-3600, -3600)):
        server = START + dt.timedelta(seconds=seconds)
        assert skew(START, server) == dt.timedelta(seconds=expected)
    assert skew(START, None) == dt.timedelta()


def test_a_long_reason_is_cut(ledger: DynamoLedger) -> None:
    """An item has 400 KB; what a run failed of is told by the beginning of the reason."""
    ledger.add(pending_run("a"))
    error = "Ä" * 200_000
    waits = [RunState.PENDING]
    assert ledger.move(["a"], "lines", states=waits, to=RunState.FAILED, at=NOW, error=error) == 1
    run = ledger.get("a")
    assert run is not None
    kept = run.parts["lines"].error
    assert kept.startswith("ÄÄÄ")
    assert kept.endswith("…")
    assert len(kept.encode()) <= items.ERROR_BYTES


@pytest.mark.parametrize(
    "run",
    [
        replace(pending_run("a"), attributes={"text": "x" * 500_000}),
        replace(pending_run("a"), attributes={f"a{n}": "x" for n in range(200)}),
    ],
    ids=["bytes", "writes"],
)
def test_a_run_too_large_is_refused(run: Run) -> None:
    """Before anything is asked, with what there is too much of."""
    with pytest.raises(RefusedInput) as caught:
        transactions.adding(run, "w", 0)
    assert caught.value.kind == "run-too-large"


def test_a_later_releases_ledger_is_refused(ledger: DynamoLedger, table: Any) -> None:  # noqa: ANN401
    """What this release does not know it does not touch."""
    table.put_item(Item={**items.LEDGER, "vault_id": "v", "format": items.FORMAT + 1})
    with pytest.raises(Unsupported) as caught:
        ledger.bind("v")
    assert caught.value.kind == "newer-ledger"


def test_who_only_reads_binds_nothing(dynamodb_url: str, table: Any) -> None:  # noqa: ANN401
    """The doctor leaves an empty table empty."""
    with closing(open_ledger(dynamodb_url, only_read=True)) as ledger:
        ledger.bind("vault-a")
        assert ledger.newest() == []
    assert table.scan()["Items"] == []


def test_every_request_ends(dynamodb_url: str) -> None:
    """A server that says nothing is given up on, and boto3 repeats no write by itself."""
    client: Any = connect(parse(dynamodb_url))
    with closing(client):
        config = client.meta.config
        assert (config.connect_timeout, config.read_timeout) == (5, 10)
        assert config.retries["total_max_attempts"] == 1


def test_what_is_not_there_is_said(dynamodb_url: str) -> None:
    """A table or a server that is missing is unavailable: it may come."""
    missing = dynamodb_url.replace("://t-", "://none-")
    nobody = "dynamodb://runs?region=us-east-1&endpoint=http://127.0.0.1:1"
    for url, said in ((missing, "ResourceNotFoundException"), (nobody, "127.0.0.1:1")):
        with pytest.raises(Unavailable, match=said) as caught:
            open_ledger(url, clock=ManualClock())
        assert caught.value.kind == "ledger-unavailable"
        assert "credentials" in caught.value.hint


def test_a_region_comes_from_the_url_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_REGION, as for vaults; without any the hint says how to name one."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(UsageError) as caught:
        open_ledger("dynamodb://runs")
    assert (caught.value.kind, "AWS_REGION" in caught.value.hint) == ("bad-url", True)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with pytest.raises(Unavailable, match=r"dynamodb://runs\?region=eu-west-1 .*127\.0\.0\.1:1"):
        open_ledger("dynamodb://runs", clock=ManualClock())


def test_urls_are_read() -> None:
    """Table, region and endpoint, and nothing else."""
    assert parse("dynamodb://runs") == Place("runs")
    assert parse("dynamodb://a.b_c-D/?region=eu-west-1") == Place("a.b_c-D", "eu-west-1")
    url = "dynamodb://runs?endpoint=http://127.0.0.1:4566&region=x"
    assert parse(url) == Place("runs", "x", "http://127.0.0.1:4566")


@pytest.mark.parametrize(
    "url",
    [
        "dynamodb://",
        "dynamodb://ab",
        "dynamodb://KEY:hunter2@runs",
        "dynamodb://runs/hunter2",
        "dynamodb://runs?secret=hunter2",
        "dynamodb://runs?region=hunter2&region=b",
        "dynamodb://runs?region=HUNTER2",
        "dynamodb://runs?endpoint=http://u:hunter2@h",
    ],
)
def test_urls_with_more_are_refused_without_a_secret(url: str) -> None:
    """Credentials have no place in a URL, and no message repeats them."""
    with pytest.raises(ChromasealError) as caught:
        open_ledger(url)
    assert caught.value.kind == "bad-url"
    if "@" in url or "secret" in url:
        assert "hunter2" not in str(caught.value) + without_secrets(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("dynamodb://ab?region=x", "3 to 255"),
        ("dynamodb://KEY:hunter2@runs?region=x", "password"),
        ("dynamodb://runs/more?region=x", "follow the table's name"),
        ("dynamodb://runs?regoin=x", "region and endpoint"),
        ("dynamodb://runs?region=x&region=y", "each once"),
        ("dynamodb://runs?region=a b", "a region's name"),
        ("dynamodb://runs?region=x&endpoint=localhost:8000", "http://"),
    ],
)
def test_a_wrong_url_says_what_is_wrong_with_it(url: str, why: str) -> None:
    """What a message leaves out of the URL may be the very thing that is wrong."""
    with pytest.raises(UsageError) as caught:
        parse(url)
    assert why in caught.value.message.partition(" is no URL of a DynamoDB table: ")[2]


def test_messages_name_the_region() -> None:
    """A table is found by its name and region; an endpoint is nobody else's business."""
    url = "dynamodb://k:s@runs?region=eu-west-1&endpoint=http://h"
    assert without_secrets(url) == "dynamodb://runs?region=eu-west-1"
