"""``chromaseal compact`` where the disk has room for a part of what waits: all of it, by and by."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.compaction.portion import needed_bytes
from chromaseal.entrypoints.cli.compact_cmd import compact_after
from chromaseal.entrypoints.cli.output import Output
from chromaseal.errors import Incomplete
from chromaseal.run.model import RunState
from chromaseal.snapshot.history import head
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault


def room_for_one_run(vault: Vault, name: str = "notes") -> int:
    """Give what merging the oldest run alone may take."""
    version, waiting = head(vault.parts.store, name).version, vault.parts.ledger.waiting(name)
    delta_bytes = max((run.parts[name].size_bytes for run in waiting), default=0)
    return needed_bytes(version.manifest.size_bytes if version else 0, delta_bytes)


def compact(vault: Vault, *names: str) -> None:
    """Do what the command does."""
    compact_after(vault, list(names), Output.of(as_json=True))


def states(vault: Vault, run_id: str) -> set[RunState]:
    """Give where the parts of a run stand."""
    return {part.state for part in vault.run(run_id).parts.values()}


def test_the_others_go_on_where_a_part_was_one_bad_delta(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is set aside, and the runs for which there was no room beside it follow at once."""
    for number in range(3):
        vault.write({"notes": upserts(record(f"r{number}"))}, run_id=f"run-{number}")
    (found,) = tmp_path.rglob(f"*/{keys.delta('notes', 'run-0', '.parquet')}")
    found.write_bytes(found.read_bytes()[::-1])
    monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: room_for_one_run(vault))
    with pytest.raises(Incomplete, match="1 run could not be merged"):
        compact(vault, "notes")
    assert states(vault, "run-0") == {RunState.FAILED}
    assert states(vault, "run-1") | states(vault, "run-2") == {RunState.COMPLETED}
    # One after the other, for there was no more room.
    assert vault.version("notes").manifest.number == 2


def test_collections_that_have_no_room_together_follow_each_other(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk with room for one of them is no full disk."""
    both = {name: upserts(record("a")) for name in ("notes", "words")}
    vault.write(both, run_id="both")
    room = max(room_for_one_run(vault, name) for name in both)
    monkeypatch.setattr(vault.parts.checkouts, "free_bytes", lambda: room)
    compact(vault, *both)
    assert states(vault, "both") == {RunState.COMPLETED}
