"""What a worker says of itself is so, and Prometheus can read it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from chromaseal.fleet.standing import (
    METRICS,
    Account,
    Standing,
    exposition,
    failed,
    is_alive,
    is_ready,
    succeeded,
)
from chromaseal.testing.prometheus import parse


def test_a_loop_that_comes_round_is_alive() -> None:
    """One that has not for longer than the bound is stuck."""
    standing = Standing(turned_s=100)
    assert is_alive(standing, 160, bound_s=60).well
    stuck = is_alive(standing, 161, bound_s=60)
    assert not stuck.well
    assert "stuck" in stuck.why


def test_readiness_needs_answers() -> None:
    """Before the first, and when the last is old, there is none."""
    assert not is_ready(Standing(0), 0, bound_s=60).well
    standing = Standing(0, answered_s=10)
    assert is_ready(standing, 70, bound_s=60).well
    assert not is_ready(standing, 71, bound_s=60).well


def test_failures_in_a_row_end_with_a_success() -> None:
    """All failures are counted for ever."""
    account = failed(failed(replace(Account(), working=True)))
    assert (account.failures, account.failures_in_a_row, account.working) == (2, 2, False)
    account = succeeded(replace(account, left=True), 1234.5)
    assert (account.failures, account.failures_in_a_row, account.left) == (2, 0, False)
    assert account.succeeded_at_s == 1234.5


def test_the_text_says_what_the_standing_does() -> None:
    """Every metric of every collection, chore and status, with kind and help."""
    standing = Standing(0)
    account = Account(3, True, False, 2, 40, 1, 5, 4, 1e9)  # noqa: FBT003 - in the order of fields
    standing = standing.with_account("notes", lambda _: account)
    standing = standing.with_account("lines", lambda a: replace(a, backlog=7))
    standing = standing.with_chore("inbox", failed).with_image("done").with_image("done")
    samples = parse(exposition(standing))
    name = "chromaseal_worker_"
    assert samples[f"{name}backlog_runs", "notes"] == 3
    assert samples[f"{name}backlog_runs", "lines"] == 7
    assert samples[f"{name}compacting", "notes"] == 1
    assert samples[f"{name}left", "notes"] == 0
    assert samples[f"{name}versions_total", "notes"] == 2
    assert samples[f"{name}merged_runs_total", "notes"] == 40
    assert samples[f"{name}set_aside_runs_total", "notes"] == 1
    assert samples[f"{name}failures_total", "notes"] == 5
    assert samples[f"{name}failures_in_a_row", "notes"] == 4
    assert samples[f"{name}last_success_timestamp_seconds", "notes"] == 1e9
    assert samples[f"{name}chore_failures_total", "inbox"] == 1
    assert samples[f"{name}images_total", "done"] == 2
    assert {metric for metric, _ in samples} == {metric.name for metric in METRICS}
    assert standing.backlog == 10


def test_names_are_those_that_prometheus_recommends() -> None:
    """Counters end in total, and no other metric does."""
    for metric in METRICS:
        assert re.fullmatch(r"chromaseal_worker_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb"])
def test_labels_are_escaped(name: str) -> None:
    """Whatever a label has in it."""
    text = exposition(Standing(0).with_account(name, lambda a: a))
    assert parse(text)["chromaseal_worker_backlog_runs", name] == 0


def test_a_worker_without_collections_says_so_without_values() -> None:
    """The text is valid all the same."""
    assert parse(exposition(Standing(0))) == {}
