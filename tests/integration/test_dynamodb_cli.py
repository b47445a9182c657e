"""The whole way of a run by commands, with its ledger in DynamoDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chromaseal.composition.engine import open_vault
from chromaseal.settings import Settings
from chromaseal.testing.command_line import Answer, chromaseal
from chromaseal.testing.dynamodb import make_table
from chromaseal.testing.records import record, upserts
from chromaseal.testing.servers import S3Server

NAME = "notes"


@pytest.mark.slow
def test_commands_work_on_a_table(
    tmp_path: Path, dynamodb_url: str, ministack_server: S3Server
) -> None:
    """Written, listed, cancelled, put back, merged by a worker; and a lost table made again."""

    def command(*arguments: str, ledger: str = dynamodb_url) -> Answer:
        place = ("--vault", str(tmp_path / "vault"), "--ledger", ledger, "--json")
        return chromaseal(*arguments, *place, cache=tmp_path / "cache")

    def states(ledger: str) -> dict[str, str]:
        found = command("runs", "list", ledger=ledger).only("run")
        return {run["run_id"]: part_state(run) for run in found}

    settings = Settings((tmp_path / "vault").as_uri(), dynamodb_url, tmp_path / "cache")
    with open_vault(settings) as vault:
        for number, run_id in enumerate(("first", "second", "third")):
            vault.write({NAME: upserts(record(run_id, number))}, run_id=run_id)
    assert command("runs", "cancel", "sec").exit_code == 0
    assert states(dynamodb_url) == {"third": "PENDING", "second": "CANCELLED", "first": "PENDING"}
    (done,) = command("worker", "--once").only("compaction")
    assert sorted(done["merged"]) == ["first", "third"]
    assert command("runs", "retry", "second").events[0]["collections"] == [NAME]
    assert command("compact").exit_code == 0
    (shown,) = command("runs", "show", "second").only("run")
    assert part_state(shown) == "COMPLETED"
    assert command("doctor").exit_code == 0
    empty = make_table(ministack_server, "made-anew")
    assert command("doctor", "--rebuild-ledger", ledger=empty).exit_code == 0
    assert states(empty) == dict.fromkeys(("third", "second", "first"), "COMPLETED")


def part_state(run: dict[str, Any]) -> str:
    """Give the state of a run's only part."""
    return str(run["parts"][NAME]["state"])
