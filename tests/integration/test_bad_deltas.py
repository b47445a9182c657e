"""One delta that cannot be merged is found and set aside; what is not its fault is nobody's."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from chromaseal.adapters.parquet.codec import ParquetDeltaCodec
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.errors import Conflict, RefusedInput, Unavailable
from chromaseal.run.model import RunState
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.records import record, upserts
from chromaseal.testing.sandboxes import WatchedSandbox
from chromaseal.vault import Vault

Fails: TypeAlias = Callable[[Sequence[str]], Exception | None]
OpenVault: TypeAlias = Callable[..., Vault]


class Poison:
    """Fails merges by which runs are in them; counts all, and those that failed."""

    def __init__(self, fails: Fails) -> None:
        self._fails = fails
        self._codec = ParquetDeltaCodec()
        self.merges: list[int] = []
        self.fired = 0

    def __call__(self, job: str, request: Mapping[str, Any]) -> None:
        """Fail a job, or let it be."""
        if job != "merge":
            return
        deltas = [self._codec.decode(Path(p).read_bytes()) for p in request["deltas"]]
        self.merges.append(len(deltas))
        error = self._fails([delta.header.run_id for delta in deltas])
        if error is not None:
            self.fired += 1
            raise error


def died() -> Exception:
    """Give what a child that was killed leaves."""
    return Unavailable("the process that was to merge died: killed", kind="child-died")


def poisoned(vault: Vault, fails: Fails) -> Poison:
    """Put faults between a vault and its child processes."""
    poison = Poison(fails)
    vault.parts = replace(vault.parts, sandbox=WatchedSandbox(vault.parts.sandbox, poison))
    return poison


def write_runs(vault: Vault, count: int) -> list[str]:
    """Write runs of a record each."""
    names = [f"run-{number}" for number in range(count)]
    for number, name in enumerate(names):
        vault.write({"notes": upserts(record(f"r{number}", number))}, run_id=name)
    return names


def state_of(vault: Vault, run_id: str) -> RunState:
    """Give where a run stands."""
    return vault.run(run_id).parts["notes"].state


@pytest.mark.parametrize(
    ("error", "alone"),
    [(died(), [1, 1, 1]), (RefusedInput("ChromaDB refuses it", kind="bad-metadata"), [1])],
    ids=["child dies", "ChromaDB refuses"],
)
def test_the_one_bad_delta_is_set_aside(
    vault_at: OpenVault, error: Exception, alone: list[int]
) -> None:
    """Of seven runs six are merged; the seventh fails with its reason and its delta's key."""
    vault = vault_at(clock=ManualClock())
    names = write_runs(vault, 7)
    sandbox = poisoned(vault, lambda runs: error if "run-4" in runs else None)
    (done,) = vault.compact()
    assert sandbox.fired
    assert set(done.merged) == {*names} - {"run-4"}
    assert list(done.failed) == ["run-4"]
    part = vault.run("run-4").parts["notes"]
    assert part.state is RunState.FAILED
    assert part.error.startswith(f"{part.delta_key} cannot be merged: ")
    assert done.version is not None
    assert done.version.manifest.records.count == 6
    # After it has failed alone, merging nothing shows that it is the delta.
    assert sandbox.merges == [7, 3, 4, 2, 1, *alone, 0, 2]


def test_it_can_be_put_back(vault_at: OpenVault) -> None:
    """What made it fail may be mended: retry brings the run into the next version."""
    vault = vault_at(clock=ManualClock())
    write_runs(vault, 2)
    bad = {"run-0"}
    poisoned(vault, lambda runs: RefusedInput("no", kind="no") if bad & {*runs} else None)
    vault.compact()
    assert state_of(vault, "run-0") is RunState.FAILED
    bad.clear()
    assert vault.retry("run-0") == ["notes"]
    (done,) = vault.compact()
    assert done.merged == ("run-0",)
    assert done.version is not None
    assert done.version.manifest.records.count == 2


def test_nothing_is_set_aside_for_what_it_did_not_do(vault_at: OpenVault) -> None:
    """Where not even merging nothing works, every run waits on, with the reason."""
    vault = vault_at(clock=ManualClock())
    names = write_runs(vault, 3)
    sandbox = poisoned(vault, lambda _: died())
    with pytest.raises(Unavailable, match="died"):
        vault.compact()
    assert sandbox.merges[-1] == 0
    assert {state_of(vault, name) for name in names} == {RunState.PENDING}
    assert "died" in vault.run("run-0").parts["notes"].error


def test_no_delta_is_blamed_on_a_disk_that_was_filled_meanwhile(
    vault_at: OpenVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said that the disk is full, whatever the child said; every run waits on."""
    vault = vault_at(clock=ManualClock())
    names = write_runs(vault, 3)
    full = True
    poisoned(vault, lambda runs: died() if full and runs else None)
    with monkeypatch.context() as little:
        little.setattr(vault.parts.checkouts, "free_bytes", lambda: 1 << 20)
        with pytest.raises(Unavailable, match="the run waits on") as caught:
            vault.compact()
    assert caught.value.kind == "disk-full"
    assert {state_of(vault, name) for name in names} == {RunState.PENDING}
    full = False
    (done,) = vault.compact()
    assert sorted(done.merged) == names


def test_deltas_that_cannot_be_written_down_are_not_at_fault(
    vault_at: OpenVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full before the child begins is said by its name, too."""
    vault = vault_at(clock=ManualClock())
    names = write_runs(vault, 2)

    def full(_: Path, __: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as little:
        little.setattr(Path, "write_bytes", full)
        with pytest.raises(Unavailable) as caught:
            vault.compact()
    assert caught.value.kind == "disk-full"
    assert {state_of(vault, name) for name in names} == {RunState.PENDING}


def test_what_is_too_much_at_once_is_merged_in_parts(vault_at: OpenVault) -> None:
    """Where only the number is too large, everything is merged, in several versions."""
    vault = vault_at(clock=ManualClock())
    names = write_runs(vault, 5)
    poisoned(vault, lambda runs: died() if len(runs) > 2 else None)
    (done,) = vault.compact()
    assert set(done.merged) == {*names}
    assert not done.failed
    assert done.version is not None
    assert done.version.manifest.records.count == 5


def test_a_killed_child_is_tried_again(vault_at: OpenVault) -> None:
    """A child that dies twice and then does not was killed for something else."""
    vault = vault_at(clock=ManualClock())
    write_runs(vault, 1)
    left = [died(), died()]
    sandbox = poisoned(vault, lambda _: left.pop() if left else None)
    (done,) = vault.compact()
    assert sandbox.fired == 2
    assert done.merged == ("run-0",)


def test_a_closed_vault_sets_nothing_aside(vault_at: OpenVault) -> None:
    """Whoever closes a vault while it compacts hears so at once."""
    vault = vault_at()
    names = write_runs(vault, 4)
    sandbox = ProcessSandbox()
    sandbox.close()
    vault.parts = replace(vault.parts, sandbox=sandbox)
    with pytest.raises(Unavailable) as caught:
        vault.compact()
    assert caught.value.kind == "closed"
    assert {state_of(vault, name) for name in names} == {RunState.PENDING}


def test_who_is_stopped_sets_nothing_aside(vault_at: OpenVault) -> None:
    """Whoever ends a compaction as it goes on hears just that; nothing is tried in halves."""
    vault = vault_at()
    names = write_runs(vault, 4)
    sandbox = poisoned(vault, lambda _: None)

    def go_on(name: str, step: str, done: int, total: int) -> None:
        del name, done, total
        if step == "seal":
            raise Conflict("somebody else has taken over", kind="lease-lost")

    with pytest.raises(Conflict) as caught:
        vault.compact(progress=go_on)
    assert caught.value.kind == "lease-lost"
    assert sandbox.merges == [4]
    assert {state_of(vault, name) for name in names} == {RunState.PENDING}
