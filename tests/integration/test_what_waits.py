"""Whoever adds runs and leaves them to others hears how many there are."""

from __future__ import annotations

import json

import pytest

from chromaseal.entrypoints.cli import compact_cmd
from chromaseal.entrypoints.cli.compact_cmd import say_what_waits
from chromaseal.entrypoints.cli.output import Output
from chromaseal.run.model import RunState
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault


def test_what_waits_is_said(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What waits or is being merged, per collection; from a number on, that it is a lot."""
    for number in range(3):
        vault.write({"words": upserts(record(f"r{number}"))}, run_id=f"run-{number}")
    states = [RunState.PENDING]
    vault.parts.ledger.move(["run-0"], "words", states=states, to=RunState.MERGING, at="now")
    say_what_waits(vault, ["lines", "words"], Output.of(as_json=False))
    assert capsys.readouterr().out == "words: 3 runs for the next version\n"
    monkeypatch.setattr(compact_cmd, "BEHIND_RUNS", 2)
    say_what_waits(vault, ["words"], Output.of(as_json=False))
    assert "compaction falls behind, nothing is dropped" in capsys.readouterr().out
    say_what_waits(vault, ["words"], Output.of(as_json=True))
    assert json.loads(capsys.readouterr().out) == {
        "event": "runs-waiting",
        "collection": "words",
        "runs": 3,
        "falls_behind": True,
    }
    vault.compact()
    say_what_waits(vault, ["words"], Output.of(as_json=False))
    assert not capsys.readouterr().out
