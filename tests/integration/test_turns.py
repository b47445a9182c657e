"""Turns at real collections: left, lost, ended, refused for want of room, taken from the dead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import pytest

from chromaseal.adapters.linux.process_name import is_gone, own_name
from chromaseal.compaction.portion import Portion
from chromaseal.errors import Conflict, Interrupted, Unavailable
from chromaseal.fleet.turn import Terms, compact_in_turn, holder_of, one_at_a_time
from chromaseal.ids import SystemIds
from chromaseal.run.model import RunState
from chromaseal.telemetry.emit import observed
from chromaseal.testing.recording_observer import RecordingObserver
from chromaseal.testing.records import record, upserts
from chromaseal.testing.waiting import wait_until
from chromaseal.vault import Vault

SAY = (
    "from chromaseal.adapters.linux.process_name import own_name as name;"
    "from chromaseal.ids import SystemIds as I; print(name(I()))"
)


class OpenVault(Protocol):
    """What the fixture ``vault_at`` gives; see ``tests/conftest.py``."""

    def __call__(self) -> Vault:
        """Open a vault."""
        ...


def terms(**changed: object) -> Terms:
    """Give terms of this process."""
    usual = Terms(own_name(SystemIds()), 60.0)
    return replace(usual, **changed)  # type: ignore[arg-type]


def add(vault: Vault, *run_ids: str) -> None:
    """Let runs wait."""
    for run_id in run_ids:
        vault.write({"notes": upserts(record(run_id))}, run_id=run_id)


def state_of(vault: Vault, run_id: str) -> RunState:
    """Give where a run stands."""
    return vault.run(run_id).parts["notes"].state


def test_a_turn_makes_one_version_of_all_and_gives_the_lease_back(vault: Vault) -> None:
    """While it lasts everybody sees whose it is."""
    add(vault, "a", "b", "c")
    mine, seen = terms(), set[str]()

    def look(name: str, *_: object) -> None:
        lease = vault.parts.leases.holder(name)
        assert lease is not None
        seen.add(lease.owner)

    turns = compact_in_turn(vault, ["notes"], mine, progress=look)
    (done,) = turns.done
    assert done.version is not None
    assert sorted(done.merged) == ["a", "b", "c"]
    assert seen == {mine.owner}
    assert vault.parts.leases.holder("notes") is None


def test_a_collection_is_left_to_its_holder(vault: Vault) -> None:
    """Nothing of it is begun, the others are compacted, and the holder can be named."""
    add(vault, "a")
    vault.write({"words": upserts(record("w"))}, run_id="w")
    other = own_name(SystemIds())
    assert vault.parts.leases.acquire("notes", other, duration_s=60) is not None
    turns = compact_in_turn(vault, ["notes", "words"], terms())
    assert [done.collection for done in turns.done] == ["words"]
    assert f"notes is being compacted by process {other.split('|')[1]} on" in holder_of(
        "notes", turns.left["notes"]
    )
    assert vault.run("a").parts["notes"].attempts == 0
    assert compact_in_turn(vault, [], terms()).done == ()


def test_a_full_disk_begins_nothing(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs wait as they were, and go in once there is room."""
    add(vault, "a")
    with monkeypatch.context() as full:
        full.setattr(vault.parts.checkouts, "free_bytes", lambda: 1)
        with pytest.raises(Unavailable) as caught:
            compact_in_turn(vault, ["notes"], terms())
    assert caught.value.kind == "disk-full"
    assert vault.run("a").parts["notes"].attempts == 0
    assert vault.parts.leases.holder("notes") is None
    assert compact_in_turn(vault, ["notes"], terms()).done[0].merged == ("a",)


def test_working_copies_make_way_for_what_waits(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays open to save time is given back before a disk is called full."""
    add(vault, "a")
    given_back: list[str] = []
    monkeypatch.setattr(vault, "give_room", lambda: given_back.append("copies"))
    free_bytes = vault.parts.checkouts.free_bytes
    monkeypatch.setattr(
        vault.parts.checkouts, "free_bytes", lambda: free_bytes() if given_back else 1
    )
    assert compact_in_turn(vault, ["notes"], terms()).done[0].merged == ("a",)


def test_reading_ends_when_its_time_is_over(vault: Vault) -> None:
    """With what was read by then, one delta at least; the others wait on as if never begun."""
    add(vault, "a", "b", "c")
    (done,) = vault.compact(["notes"], portions={"notes": Portion(read_s=0.0)})
    assert done.merged == ("a",)
    assert {vault.run(name).parts["notes"].attempts for name in "bc"} == {0}
    assert vault.compact(["notes"])[0].merged == ("b", "c")


def test_what_was_ended_is_given_back(vault: Vault) -> None:
    """In the middle of a merge: no version, and the runs wait."""
    add(vault, "a", "b")
    seen: list[str] = []

    def look(_: str, step: str, *__: object) -> None:
        seen.append(step)

    with pytest.raises(Interrupted):
        compact_in_turn(vault, ["notes"], terms(), progress=look, is_over=lambda: "merge" in seen)
    assert not vault.has_version("notes")
    assert {state_of(vault, run_id) for run_id in "ab"} == {RunState.PENDING}
    assert vault.parts.leases.holder("notes") is None


def test_a_lease_that_is_lost_ends_the_work(vault: Vault) -> None:
    """It is noticed within a third of its time; the new holder's lease stays, the runs wait."""
    add(vault, "a")
    observer, leases = RecordingObserver(), vault.parts.leases

    def steal(name: str, step: str, *_: object) -> None:
        lease = leases.holder(name)
        if step != "merge" or lease is None or lease.owner == "you":
            return
        leases.release(lease)
        assert leases.acquire(name, "you", duration_s=60) is not None
        wait_until(lambda: bool(observer.said("lease lost")))

    with observed(observer), pytest.raises(Conflict) as caught:
        compact_in_turn(vault, ["notes"], terms(lease_s=1.5), progress=steal)
    assert caught.value.kind == "lease-lost"
    assert not vault.has_version("notes")
    assert state_of(vault, "a") is RunState.PENDING
    held = leases.holder("notes")
    assert held is not None
    assert held.owner == "you"


def test_a_dead_process_of_this_machine_is_not_waited_for(vault: Vault) -> None:
    """Whoever repeats a command that was killed goes on at once; elsewhere its time has to pass."""
    add(vault, "a")
    dead = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True)
    name = dead.stdout.strip()
    assert vault.parts.leases.acquire("notes", name, duration_s=3600) is not None
    assert list(compact_in_turn(vault, ["notes"], terms()).left) == ["notes"]
    turns = compact_in_turn(vault, ["notes"], terms(is_gone=is_gone))
    assert turns.done[0].merged == ("a",)


def test_a_paused_compactor_publishes_over_nobody(vault: Vault, vault_at: OpenVault) -> None:
    """It believes in its lease to the end; the pointer has moved, and its runs are there."""
    add(vault, "a", "b")
    other, leases, paused = vault_at(), vault.parts.leases, list[str]()

    def pause(name: str, step: str, *_: object) -> None:
        lease = leases.holder(name)
        if step != "publish" or paused or lease is None:
            return
        paused.append(step)
        # As if its time were over; it does not ask before it goes on.
        leases.release(lease)
        add(other, "c")
        (theirs,) = compact_in_turn(other, ["notes"], terms()).done
        assert sorted(theirs.merged) == ["a", "b", "c"]

    (mine,) = compact_in_turn(vault, ["notes"], terms(lease_s=3600.0), progress=pause).done
    assert paused
    assert (mine.version, mine.merged, mine.lost_races) == (None, (), 1)
    assert [entry.version.number for entry in vault.log("notes")] == [1]
    assert {state_of(vault, run_id) for run_id in "abc"} == {RunState.COMPLETED}


def test_one_process_at_a_time_does_what_is_to_be_done_alone(vault: Vault) -> None:
    """The others are told that there is nothing to do."""
    seen: list[float | None] = []

    def work(is_over: Callable[[], bool]) -> float | None:
        assert not is_over()
        seen.append(one_at_a_time(vault, "_inbox", terms(), lambda _: 7.0)(lambda: False))
        return 5.0

    assert one_at_a_time(vault, "_inbox", terms(), work)(lambda: False) == 5.0
    assert seen == [None]
