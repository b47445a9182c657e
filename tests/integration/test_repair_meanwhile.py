"""Lost manifests, where others publish meanwhile, or the ledger is lost as well."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.conftest import OpenVault

from chromaseal import keys
from chromaseal.errors import Conflict, Damaged
from chromaseal.object_store import ObjectStore
from chromaseal.repair import collection as repairing
from chromaseal.replication import rollback
from chromaseal.snapshot import history
from chromaseal.snapshot.manifest import PastVersion
from chromaseal.snapshot.way import DeadEnd, Way, way_to
from chromaseal.sweep.ledger import sweep_ledger
from chromaseal.testing.clock import START, ManualClock
from chromaseal.testing.machine import Machine
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

NAME = "notes"


def lose_manifest(vault: Vault) -> None:
    """Remove the newest version's manifest."""
    vault.parts.store.delete(keys.manifest(NAME, vault.version(NAME).version_id))


def test_a_rollback_gives_up_nothing_that_has_come_meanwhile(
    machine: Machine, states: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another has given the lost version up, and published since: that stays, and it is told."""
    for state in states[:3]:
        machine.push(NAME, state)
    here = machine.stranger(machine.directory.parent / "other").vault
    lose_manifest(here)

    def after_another(store: ObjectStore, name: str) -> tuple[str | None, str | None]:
        monkeypatch.setattr(rollback, "pointer", history.pointer)
        machine.vault.rollback(NAME, "2")
        machine.push(NAME, states[3], replace=True)
        return history.pointer(store, name)

    monkeypatch.setattr(rollback, "pointer", after_another)
    with pytest.raises(Conflict) as caught:
        here.rollback(NAME, "2")
    assert caught.value.kind == "lost-race"
    assert [entry.version.number for entry in here.log(NAME)] == [4, 3, 2, 1]


def test_a_repair_that_was_overtaken_says_so(
    machine: Machine, states: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That an older version cannot be made again is of no use to whoever has a newer one."""
    for state in states[:2]:
        machine.push(NAME, state)
    here = machine.stranger(machine.directory.parent / "other").vault
    for layer in here.version(NAME).manifest.written_here:
        here.parts.store.delete(keys.layer_part(NAME, layer.layer_id, 0))

    def after_another(
        past: Sequence[PastVersion], number: int, fetched: Callable[[int], bool]
    ) -> Way | DeadEnd:
        machine.push(NAME, states[2], replace=True)
        return way_to(past, number, fetched)

    monkeypatch.setattr(repairing, "way_to", after_another)
    with pytest.raises(Conflict) as caught:
        here.repair(NAME)
    assert caught.value.kind == "lost-race"


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_is_kept_is_not_published_where_a_run_that_it_may_have_would_undo_others(
    vault_at: OpenVault, tmp_path: Path, *, dry_run: bool
) -> None:
    """Its runs are not known without the ledger, and merged anew they would come last."""
    clock = ManualClock()
    vault = vault_at(clock=clock)
    vault.write({NAME: upserts(record("a", 1), record("b", 1))}, run_id="later")
    vault.compact()
    clock.set(START - dt.timedelta(hours=1))
    vault.write({NAME: upserts(record("a", 2), record("c", 2))}, run_id="late")
    vault.compact()
    lose_manifest(vault)
    (tmp_path / "ledger.sqlite").unlink()
    vault = vault_at(clock=clock)
    with pytest.raises(Damaged, match="late") as caught:
        vault.repair(NAME, dry_run=dry_run)
    assert caught.value.kind == "cannot-repair"
    assert "chromaseal rollback notes 1" in caught.value.hint
    vault.rollback(NAME, "1")
    sweep_ledger(vault.parts)
    vault.compact()
    with vault.reader(NAME) as reader:
        found = {each.id: each.embedding.tolist() for each in reader.records()}
    wanted = (record("a", 1), record("b", 1), record("c", 2))
    assert found == {each.id: each.embedding.tolist() for each in wanted}


def test_what_is_kept_is_published_where_its_late_run_is_known(vault_at: OpenVault) -> None:
    """With its runs the version counts as merged, and one that comes later still is sorted in."""
    clock = ManualClock()
    vault = vault_at(clock=clock)
    vault.write({NAME: upserts(record("a", 1))}, run_id="later")
    vault.compact()
    clock.set(START - dt.timedelta(hours=1))
    vault.write({NAME: upserts(record("a", 2))}, run_id="late")
    vault.compact()
    lose_manifest(vault)
    made = vault.repair(NAME).version
    assert made is not None
    assert [run.run_id for run in made.manifest.runs] == ["late"]


def test_a_cancelled_run_keeps_nothing_from_being_published(
    vault_at: OpenVault, tmp_path: Path
) -> None:
    """It is merged on top of nothing, however old it is."""
    clock = ManualClock()
    vault = vault_at(clock=clock)
    for run_id in ("one", "two"):
        vault.write({NAME: upserts(record(run_id, 1))}, run_id=run_id)
        vault.compact()
    clock.set(START - dt.timedelta(hours=1))
    vault.write({NAME: upserts(record("one", 2))}, run_id="late")
    vault.cancel("late")
    lose_manifest(vault)
    (tmp_path / "ledger.sqlite").unlink()
    assert "keeps" in vault_at(clock=clock).repair(NAME).source


def test_what_is_kept_is_not_published_where_a_delta_cannot_be_read(
    vault_at: OpenVault, tmp_path: Path
) -> None:
    """Nobody knows how old its run is, and that is said."""
    vault = vault_at()
    for run_id in ("one", "two"):
        vault.write({NAME: upserts(record(run_id, 1))}, run_id=run_id)
        vault.compact()
    lose_manifest(vault)
    store, delta = vault.parts.store, keys.delta(NAME, "two", vault.parts.codec.suffix)
    body = store.get(delta).body
    store.delete(delta)
    store.create(delta, body[:-20] + b"x" * 20)
    (tmp_path / "ledger.sqlite").unlink()
    with pytest.raises(Damaged, match="run two cannot be read") as caught:
        vault_at().repair(NAME)
    assert caught.value.kind == "cannot-repair"
