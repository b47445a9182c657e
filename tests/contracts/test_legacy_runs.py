"""COMPACTION_RUNs that producers of the existing pipeline write are compacted by our worker."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.formats.legacy_pipeline import OldBucket, OldWriter, make_directory, run_item

from chromaseal.adapters.dynamodb import items
from chromaseal.adapters.dynamodb.legacy_runs import legacy_run_of, legacy_runs
from chromaseal.adapters.dynamodb.place import parse
from chromaseal.adapters.dynamodb.table import Table, connect
from chromaseal.adapters.local.object_store import ForeignDirectory
from chromaseal.clock import SystemClock
from chromaseal.composition.engine import open_vault
from chromaseal.composition.legacy import adopter, adopting, open_legacy
from chromaseal.errors import UsageError
from chromaseal.fleet.turn import Terms
from chromaseal.ids import SystemIds
from chromaseal.legacy.adoption import adopt_runs
from chromaseal.run.model import RunState
from chromaseal.settings import Settings
from chromaseal.stream.batch import work_off
from chromaseal.stream.messages import Message
from chromaseal.stream.translation import TableChange, messages_of
from chromaseal.testing.command_line import Answer, chromaseal
from chromaseal.testing.records import record
from chromaseal.testing.servers import S3Server
from chromaseal.vault import Vault

IMAGE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
RUNS = [f"0f0e0d0c-0b0a-4908-8706-05040302010{n}" for n in range(6)]
BEGAN = "2026-11-23T11:00:00+00:00"


@pytest.fixture
def table(ministack_server: S3Server, dynamodb_url: str) -> Iterator[Any]:
    """Give the table as another program has it."""
    place = parse(dynamodb_url)
    resource = boto3.resource(
        "dynamodb", region_name=place.region, endpoint_url=ministack_server.endpoint
    )
    yield resource.Table(place.table)
    resource.meta.client.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make the folder that the pipeline's bucket is copied to."""
    folder = tmp_path / "bucket"
    folder.mkdir()
    return folder


@pytest.fixture
def old(place: Path) -> OldBucket:
    """Give the bucket as producers write to it."""
    return OldBucket(ForeignDirectory(place, ids=SystemIds()))


def read(table: Any, run_id: str) -> dict[str, Any]:  # noqa: ANN401
    """Give a run as other programs read it."""
    key = {"PK": f"IMAGE#{IMAGE}", "SK": f"RECEIPT#00001#COMPACTION_RUN#{run_id}"}
    item: dict[str, Any] = table.get_item(Key=key, ConsistentRead=True)["Item"]
    return item


def left_by_a_producer(
    old: OldBucket,
    folder: Path,
    table: Any,  # noqa: ANN401
    run_id: str,
    *,
    upload: str = "",
    **fields: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Upload two deltas, then put the run into the table, as producers do."""
    prefixes = {}
    for name in ("lines", "words"):
        directory = folder / f"{name}-{run_id}"
        if not directory.exists():
            records = [record(f"{name}-{run_id}", 1, image_id=IMAGE, receipt_id=1)]
            make_directory(directory, name, records)
        prefixes[name] = OldWriter(old).delta(name, run_id, directory, upload=upload)
    item = run_item(run_id, IMAGE, prefixes, created_at=fields.pop("created_at", BEGAN), **fields)
    table.put_item(Item=item)
    return item


def test_a_run_is_taken_over_in_its_own_item(
    tmp_path: Path,
    dynamodb_url: str,
    table: Any,  # noqa: ANN401
    place: Path,
    old: OldBucket,
) -> None:
    """Other programs go on reading it, with what they wrote; what is done is left alone."""
    written = left_by_a_producer(old, tmp_path, table, RUNS[0])
    left_by_a_producer(old, tmp_path, table, RUNS[1], states={"lines": "COMPLETED"})
    done = left_by_a_producer(
        old, tmp_path, table, RUNS[2], states={"lines": "COMPLETED", "words": "FAILED"}
    )
    settings = Settings((tmp_path / "vault").as_uri(), dynamodb_url, tmp_path / "cache")
    with open_vault(settings) as vault:
        found = look(dynamodb_url)
        assert {each.run_id for each in found} == {RUNS[0], RUNS[1]}
        bucket = open_legacy(str(place), vault.parts.ids)
        assert [each.status for each in adopt_runs(vault.parts, bucket, found)] == ["adopted"] * 2
        assert look(dynamodb_url) == []
        assert [each.status for each in adopt_runs(vault.parts, bucket, found)] == ["known"] * 2
        run = vault.run(RUNS[0])
        assert (run.created_at, run.attributes["image_id"]) == (
            "2026-11-23T11:00:00.000000Z",
            IMAGE,
        )
        item = read(table, RUNS[0])
        own = {"parts", "format", "attributes", "created_at"}
        assert {k: v for k, v in item.items() if k not in own} == {
            k: v for k, v in written.items() if k not in own
        }
        merged = {name: done.merged for done in vault.compact() for name in [done.collection]}
        assert merged == {"lines": (RUNS[0],), "words": (RUNS[0], RUNS[1])}
    item = read(table, RUNS[0])
    assert (item["lines_state"], item["words_merged_vectors"]) == ("COMPLETED", 1)
    assert (read(table, RUNS[1])["lines_state"], read(table, RUNS[2])) == ("COMPLETED", done)


def test_a_table_that_lost_what_finds_a_run_gets_it_again(
    tmp_path: Path,
    dynamodb_url: str,
    table: Any,  # noqa: ANN401
    place: Path,
    old: OldBucket,
) -> None:
    """The run's own item is the ledger's by then, whatever state it says."""
    left_by_a_producer(old, tmp_path, table, RUNS[0])
    settings = Settings((tmp_path / "vault").as_uri(), dynamodb_url, tmp_path / "cache")
    with open_vault(settings) as vault:
        list(adopt_runs(vault.parts, open_legacy(str(place), vault.parts.ids), look(dynamodb_url)))
        vault.compact(["lines"])
        before = vault.run(RUNS[0])
        table.delete_item(Key=items.name_key(RUNS[0]))
        assert vault.parts.ledger.get(RUNS[0]) is None
        assert vault.parts.ledger.add(before)
        assert vault.run(RUNS[0]) == before
        assert before.parts["lines"].state is RunState.COMPLETED
        vault.compact(["words"])
    assert read(table, RUNS[0])["words_state"] == "COMPLETED"


def test_what_the_old_compactor_lost_is_named(
    tmp_path: Path,
    dynamodb_url: str,
    table: Any,  # noqa: ANN401
    place: Path,
    old: OldBucket,
) -> None:
    """COMPLETED in the table, and not in the snapshot; where it is, nothing is said."""
    both = {"lines": "COMPLETED", "words": "COMPLETED"}
    began = SystemClock().now().isoformat()
    for run_id in RUNS[:3]:
        left_by_a_producer(old, tmp_path, table, run_id, states=both, created_at=began)
    old.store.delete(f"words/delta/{RUNS[2]}/delta.tar.gz")
    for name in ("lines", "words"):
        directory = tmp_path / f"{name}-{RUNS[0]}"
        OldWriter(old).snapshot(name, "20261101_000000", directory, compressed=True)
    options = ("--vault", str(tmp_path / "vault"), "--ledger", dynamodb_url, "--json")
    answer = chromaseal("import", "--from", str(place), *options, cache=tmp_path / "cache")
    assert answer.exit_code == 0, answer.errors
    (found,) = answer.only("run")
    assert (found["run_id"], found["status"]) == (RUNS[1], "missing")
    assert found["records"] == {"lines": 1, "words": 1}


def look(url: str, **options: Any) -> list[Any]:  # noqa: ANN401
    """Give the runs that wait in the table."""
    place = parse(url)
    with closing(Table(place, connect(place), clock=SystemClock(), ids=SystemIds())) as opened:
        return list(legacy_runs(opened, **options))


def test_only_what_can_be_read_is_taken(table: Any, dynamodb_url: str) -> None:  # noqa: ANN401
    """Items of another kind, keys of another form and old runs are passed over."""
    prefixes = {"lines": "lines/delta/x/", "words": "words/delta/x/"}
    item = run_item(RUNS[0], IMAGE, prefixes, created_at=BEGAN)
    assert legacy_run_of(item) is not None
    for field, value in (("TYPE", "IMAGE"), ("SK", "RECEIPT#1"), ("parts", {})):
        assert legacy_run_of({**item, field: value}) is None
    for number, began in enumerate(("2025-01-01T00:00:00", "2026-11-23T11:00:00")):
        table.put_item(Item=run_item(RUNS[number], IMAGE, prefixes, created_at=began))
    since = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert [each.run_id for each in look(dynamodb_url, since=since)] == [RUNS[1]]
    assert len(look(dynamodb_url)) == 2


def test_what_others_have_merged_meanwhile_is_refused(
    tmp_path: Path,
    dynamodb_url: str,
    table: Any,  # noqa: ANN401
    place: Path,
    old: OldBucket,
) -> None:
    """The table decides, by a condition, not what was read of it before."""
    left_by_a_producer(old, tmp_path, table, RUNS[0])
    settings = Settings((tmp_path / "vault").as_uri(), dynamodb_url, tmp_path / "cache")
    with open_vault(settings) as vault:
        (run,) = look(dynamodb_url)
        item = left_by_a_producer(old, tmp_path, table, RUNS[0], states={"lines": "COMPLETED"})
        (done,) = adopt_runs(vault.parts, open_legacy(str(place), vault.parts.ids), [run])
        assert done.error is not None
        assert (done.status, done.error.kind) == ("refused", "foreign-run")
        assert vault.parts.ledger.counts("lines")[RunState.PENDING] == 0
        # Its deltas are in the vault by now. They are told of, and stop no sweep.
        swept = vault.rebuild_ledger()
        assert any(RUNS[0] in why for why in swept.left)
    assert read(table, RUNS[0]) == item


def told_by_the_stream(item: dict[str, Any]) -> dict[str, Message]:
    """Give the messages of an item that a producer has put."""
    key = (str(item["PK"]), str(item["SK"]))
    change = TableChange("INSERT", *key, None, item, "event", "1", 1_764_352_800, "us-east-1")
    return {each.collection: each for each in messages_of(change)}


def test_what_messages_tell_of_is_taken_over_and_merged(
    tmp_path: Path,
    dynamodb_url: str,
    table: Any,  # noqa: ANN401
    place: Path,
    old: OldBucket,
) -> None:
    """Told once or twice, of a run, of one half of which the old compactor has merged, of none."""
    settings = Settings((tmp_path / "vault").as_uri(), dynamodb_url, tmp_path / "cache")
    terms = Terms("me", 10.0)
    told: list[str] = []
    with open_vault(settings) as vault:
        adopt = adopting(vault, settings, str(place), lambda done: told.append(done.status))

        def deliver(messages: Mapping[str, Message]) -> dict[str, str]:
            batch = work_off(vault, messages, terms, labels_of=lambda *_: (), adopt=adopt)
            return {key: error.kind for key, error in batch.left.items()}

        messages = told_by_the_stream(left_by_a_producer(old, tmp_path, table, RUNS[0]))
        assert set(messages) == {"lines", "words"}
        for _ in range(2):
            assert deliver(messages) == {}
        half = left_by_a_producer(old, tmp_path, table, RUNS[1])
        half_told = told_by_the_stream(half)
        left_by_a_producer(old, tmp_path, table, RUNS[1], states={"lines": "COMPLETED"})
        assert deliver(half_told) == {}
        assert deliver({"lines": half_told["lines"]}) == {}
        never = told_by_the_stream({**half, "SK": f"RECEIPT#00001#COMPACTION_RUN#{RUNS[2]}"})
        assert deliver(never) == {"lines": "foreign-run", "words": "foreign-run"}
        assert told == ["adopted", "adopted"]
        versions = {name: vault.version(name).manifest for name in ("lines", "words")}
        assert {n: each.records.count for n, each in versions.items()} == {"lines": 1, "words": 2}
        assert {n: each.number for n, each in versions.items()} == {"lines": 1, "words": 2}
    item = read(table, RUNS[0])
    assert {item["lines_state"], item["words_state"]} == {"COMPLETED"}


def test_a_delta_that_cannot_be_taken_over_is_delivered_again(
    tmp_path: Path,
    dynamodb_url: str,
    table: Any,  # noqa: ANN401
    place: Path,
    old: OldBucket,
) -> None:
    """With the reason, and it stops no other; without a bucket none is taken over."""
    settings = Settings((tmp_path / "vault").as_uri(), dynamodb_url, tmp_path / "cache")
    terms = Terms("me", 10.0)
    good = told_by_the_stream(left_by_a_producer(old, tmp_path, table, RUNS[0]))
    bad = told_by_the_stream(left_by_a_producer(old, tmp_path, table, RUNS[1]))
    damaged = [each for each in place.rglob("*") if each.is_file() and RUNS[1] in str(each)]
    assert damaged
    for file in damaged:
        file.write_bytes(b"nothing of the kind")
    messages = {"good": good["lines"], "bad": bad["lines"]}
    with open_vault(settings) as vault:
        batch = work_off(vault, messages, terms, labels_of=lambda *_: ())
        assert {error.kind for error in batch.left.values()} == {"foreign-run"}
        adopt = adopting(vault, settings, str(place), lambda _: None)
        batch = work_off(vault, messages, terms, labels_of=lambda *_: (), adopt=adopt)
        assert set(batch.left) == {"bad"}
        assert RUNS[1] in batch.left["bad"].message
        assert [done.merged for done in batch.done] == [(RUNS[0],)]


@pytest.mark.slow
def test_a_worker_merges_what_producers_leave(
    tmp_path: Path,
    dynamodb_url: str,
    table: Any,  # noqa: ANN401
    place: Path,
    old: OldBucket,
) -> None:
    """Both forms of a delta, by the command that stays; and an import leaves nothing to it."""

    def command(*arguments: str) -> Answer:
        options = ("--vault", str(tmp_path / "vault"), "--ledger", dynamodb_url, "--json")
        answer = chromaseal(*arguments, *options, cache=tmp_path / "cache")
        assert answer.exit_code == 0, answer.errors
        return answer

    now = SystemClock().now()
    left_by_a_producer(old, tmp_path, table, RUNS[0], created_at=now.isoformat())
    imported = command("import", "--from", str(place))
    assert [each["status"] for each in imported.only("run")] == ["adopted"]
    left_by_a_producer(old, tmp_path, table, RUNS[1], upload="0a" * 16, created_at=now.isoformat())
    worked = command("worker", "--once", "--adopt-from", str(place))
    assert [each["run_id"] for each in worked.only("adopted")] == [RUNS[1]]
    merged = {run_id for each in worked.only("compaction") for run_id in each["merged"]}
    assert merged == {RUNS[0], RUNS[1]}
    for run_id in RUNS[:2]:
        item = read(table, run_id)
        assert {item["lines_state"], item["words_state"]} == {"COMPLETED"}
    assert command("doctor").exit_code == 0


def test_only_the_table_tells_which_deltas_are_complete(vault: Vault, tmp_path: Path) -> None:
    """Without it nobody waits for producers."""
    settings = Settings(vault.url, "memory://", tmp_path / "cache")
    terms = Terms("me", 10.0)
    with pytest.raises(UsageError) as caught:
        adopter(vault, settings, str(tmp_path), terms, lambda _: None)
    assert caught.value.kind == "needs-dynamodb"
