"""The cost page: what a request is billed as, what a version takes in, what a month comes to."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from bench.costs.counting import kind_of, read_units, write_units
from bench.costs.deployed import deployment
from bench.costs.kept import PAGE, counts, said, written
from bench.costs.model import (
    COMPACT,
    MOUNT,
    Deployment,
    Function,
    added,
    at,
    billed,
    cold_share,
    mixed,
    old,
    ours,
    receipts_per_version,
    seconds,
)
from bench.costs.prices import HOURS_PER_MONTH, PRICES
from bench.costs.scene import refuse_full

CALLS = {
    "cold": {"duration_s": 9.0},
    "1": {"duration_s": 1.0, "s3_put": 3},
    "10": {"duration_s": 2.8, "s3_put": 3, "s3_delete": 9},
}
ONE = {"processor_s": 1.0}


def counted() -> dict[str, object]:
    """Give counts in which everything takes a second."""
    once = {"cold": ONE, "warm": ONE, "idle": ONE}
    each = {"1": ONE, "10": ONE}
    before = {**ONE, "stored_bytes": 4e9, "mount_bytes": 3e9, "efs_written_bytes": 1e9}
    return {
        "ingest": once,
        "tell": once,
        "schedule": once,
        "compact": {"words": {**each, "cold": ONE}},
        "sync": {"words": {**each, "cold": ONE}},
        "old": {"words": {"1": before, "10": before}},
        "vault_bytes": {"words": 1e9},
        "mount_bytes": 2e9,
        "metrics": 5,
    }


def template() -> Deployment:
    """Give functions of a gigabyte that wait for two seconds."""
    names = ("ingest", "tell", "compact", "sync", "schedule", "old")
    return Deployment(dict.fromkeys(names, Function(1024, 512)), 1.0, 1.0, 100, 11, 1.0)


@pytest.mark.parametrize(
    ("method", "path", "target", "kind"),
    [
        ("GET", "/bucket/key", "", "s3_get"),
        ("HEAD", "/bucket/key", "", "s3_get"),
        ("GET", "/bucket?list-type=2&prefix=a", "", "s3_list"),
        ("PUT", "/bucket/key", "", "s3_put"),
        ("POST", "/bucket/key?uploads", "", "s3_put"),
        ("DELETE", "/bucket/key", "", "s3_delete"),
        ("POST", "/", "DynamoDB_20120810.Query", "dynamodb_requests"),
        ("POST", "/", "AmazonSQS.SendMessageBatch", "sqs_requests"),
    ],
)
def test_requests_are_billed_by_kind(method: str, path: str, target: str, kind: str) -> None:
    """As S3, DynamoDB and SQS name them on their bills."""
    assert kind_of(method, path, target) == kind


def test_units_of_the_table() -> None:
    """Reads go by four kilobytes, half as much when they need not be consistent; writes by item."""
    answer = json.dumps({"Items": ["x" * 5000]}).encode()
    assert read_units({"ConsistentRead": True}, answer) == 2
    assert read_units({}, answer) == 1
    batch = {"RequestItems": {"t": {"ConsistentRead": True}}}
    assert read_units(batch, json.dumps({"Responses": {"t": ["a", "b"]}}).encode()) == 2
    assert write_units(b'{"ConsumedCapacity": [{"CapacityUnits": 4.0}, {"CapacityUnits": 1}]}') == 5
    assert write_units(b'{"ConsumedCapacity": {"CapacityUnits": 2.0}}') == 2


@pytest.mark.parametrize(
    ("per_hour", "duration_s", "receipts"),
    [
        (1, 1.0, 1 + 2 / 3600),
        (3600, 1.0, 3.0),
        (3600, 10.0, 10.0),
    ],
)
def test_receipts_share_a_version(per_hour: float, duration_s: float, receipts: float) -> None:
    """Rare ones have their own; others come along in the window, or wait for a long compaction."""
    assert receipts_per_version(per_hour, 2.0, lambda _: duration_s) == pytest.approx(receipts)


def test_a_batch_grows_with_what_it_takes_itself() -> None:
    """Ten seconds and half a second per receipt, one receipt per second: twenty in a version."""
    found = receipts_per_version(3600, 2.0, lambda receipts: 10 + receipts / 2)
    assert found == pytest.approx(20)


def test_too_many_receipts_are_an_error() -> None:
    """Whoever takes longer per receipt than receipts take to come never catches up."""
    with pytest.raises(ValueError, match="more than can be compacted"):
        receipts_per_version(3600, 2.0, lambda receipts: 2 * receipts)


def test_counts_lie_on_lines() -> None:
    """Between two sizes and beyond the last one; a kind that one lacks was 0 there."""
    assert at(CALLS, 1) == {"duration_s": 1.0, "s3_put": 3, "s3_delete": 0}
    assert at(CALLS, 5.5)["duration_s"] == pytest.approx(1.9)
    assert at(CALLS, 5.5)["s3_delete"] == pytest.approx(4.5)
    assert at(CALLS, 19)["duration_s"] == pytest.approx(4.6)


def test_processes_get_cold() -> None:
    """Mostly from one receipt per hour to the next, and hardly ever from one in a minute."""
    assert cold_share(1) == pytest.approx(math.exp(-1 / 6))
    assert cold_share(60) < 1e-4
    assert mixed({"duration_s": 1.0}, {"duration_s": 9.0}, 0.25) == {"duration_s": 3.0}


def test_a_call_is_billed_by_memory_and_disk() -> None:
    """Gigabytes for as long as it takes; the first 512 MB of disk are free."""
    call = {"processor_s": 2.0, "s3_get": 0, "log_bytes": 1e6}
    found = billed(call, Function(4096, 10_752))
    assert found["lambda_gb_s"] == pytest.approx(8)
    assert found["lambda_disk_gb_s"] == pytest.approx(20)
    assert (found["s3_get"], found["lambda_requests"], found["log_gb"]) == (0, 1, 0.001)


def test_a_call_takes_what_it_computes_and_its_requests() -> None:
    """One after the other; the seconds on a busy machine beside an emulator are no measure."""
    call = {
        "processor_s": 1.0,
        "duration_s": 60.0,
        "s3_get": 2,
        "s3_put": 1,
        "s3_bytes_down": 75e6,
        "dynamodb_requests": 4,
        "sqs_requests": 2,
        "efs_written_bytes": 50e6,
    }
    assert seconds(call) == pytest.approx(1 + 3 * 0.03 + 1 + 4 * 0.005 + 2 * 0.01 + 0.5)
    assert seconds({}) == 0


def test_a_month() -> None:
    """Rare receipts have a version each; old copies are written for each of them."""
    month, before = ours(counted(), template(), 1), old(counted(), template(), 1)
    assert month.receipts == HOURS_PER_MONTH
    assert month.per_version["words"] == pytest.approx(1, abs=0.001)
    # An image and its being put away, a run, a version, its two changes, the mount, upkeep.
    assert month.amount("lambda_requests") == pytest.approx(8 * HOURS_PER_MONTH, rel=0.001)
    assert month.parts[MOUNT]["efs_written_gb"] == 0
    assert before.parts[MOUNT]["efs_written_gb"] == pytest.approx(HOURS_PER_MONTH, rel=0.01)
    assert before.amount("s3_gb_months") == pytest.approx(4)
    assert month.cost() == pytest.approx(sum(map(month.cost, month.parts)))
    assert month.cost(COMPACT) > 0
    without = month.cost() - month.cost(MOUNT) - 2 * PRICES["efs_gb_months"].per_unit
    assert month.cost_without(MOUNT, "efs_gb_months") == pytest.approx(without)
    assert added({"alarms": 1}, {"alarms": 2, "metrics": 1}) == {"alarms": 3, "metrics": 1}


def test_every_unit_has_a_price() -> None:
    """Nothing that is counted for a bill is left off it, and each price has its page."""
    for month in (ours(counted(), template(), 100), old(counted(), template(), 100)):
        assert {unit for part in month.parts.values() for unit in part} <= PRICES.keys()
    assert all(price.page.startswith(("AWS ", "Amazon ")) for price in PRICES.values())


def test_counting_is_not_begun_where_there_is_no_room(tmp_path: Path) -> None:
    """It would end after minutes, with nothing."""
    refuse_full(tmp_path, 1)
    with pytest.raises(SystemExit, match="TMPDIR"):
        refuse_full(tmp_path, 1 << 60)


def test_the_page_is_what_the_counts_say() -> None:
    """``docs/costs.md`` is what ``python -m bench.costs --page`` writes; README has its line."""
    assert "50000" in counts()
    assert PAGE.read_text(encoding="utf-8") == written()
    assert said() in (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    assert deployment().functions["compact"] == Function(4096, 10_240)
