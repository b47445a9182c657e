"""Whoever looks twice may see what others did in between: what the simulator found, made plain.

Each of these was found by a seed of ``chromaseal.testing.simulation`` first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.errors import Conflict, NotFound
from chromaseal.object_store import ObjectStore, StoredObject
from chromaseal.run.model import Run, RunState
from chromaseal.snapshot.history import head
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.machine import InterruptedSandbox
from chromaseal.testing.records import record, upserts
from chromaseal.testing.simulation.dictionary import read_rows
from chromaseal.testing.simulation.episode import Episode
from chromaseal.testing.simulation.memory import MemoryStore
from chromaseal.vault import Vault

NAME = "lines"
OpenVault = Callable[..., Vault]


class Overtaken(MemoryStore):
    """A store in front of which others go on, right after a look in vain or before another one.

    Args:
        inner: where the objects are.
        act: what the others do.
        before: the object before whose reading they do it; without it, after a pointer was looked
            for in vain.
    """

    def __init__(self, inner: ObjectStore, act: Callable[[], object], before: str = "") -> None:
        super().__init__()
        self._inner = inner
        self._before = before
        self._acts = [act]
        self.head = inner.head  # type: ignore[method-assign]
        self.list = inner.list  # type: ignore[method-assign]
        self.create = inner.create  # type: ignore[method-assign]
        self.get_range = inner.get_range  # type: ignore[method-assign]

    def let(self, act: Callable[[], object]) -> None:
        """Let the others go on once more."""
        self._acts.append(act)

    def get(self, key: str) -> StoredObject:
        """Read an object, and let the others go on."""
        if key == self._before and self._acts:
            self._acts.pop()()
        try:
            return self._inner.get(key)
        except NotFound:
            if key == keys.pointer(NAME) and not self._before and self._acts:
                self._acts.pop()()
            raise


@pytest.fixture
def open_vault(tmp_path: Path) -> OpenVault:
    """Give a function that opens the same vault in another process, on a machine of its own."""
    episode = Episode(0, tmp_path)
    return lambda name, machine="": episode.process(name, machine or name, 1).vault


def publish(vault: Vault, *names: str) -> None:
    """Publish a version for each name, with a record of that name."""
    for name in names:
        vault.write({NAME: upserts(record(name, 1))}, run_id=name)
        vault.compact([NAME])


def overtaken(vault: Vault, act: Callable[[], object]) -> Vault:
    """Let others be faster."""
    vault.parts = replace(vault.parts, store=Overtaken(vault.parts.store, act))
    return vault


def test_a_pointer_that_comes_while_it_is_looked_for_is_not_lost(open_vault: OpenVault) -> None:
    """No pointer yet, and then versions 1 and 2: that is news, and no loss."""
    other = open_vault("other")
    here = overtaken(open_vault("here"), lambda: publish(other, "a", "b"))
    newest = head(here.parts.store, NAME).version
    assert newest is not None
    assert newest.manifest.number == 2


def test_a_ledger_that_is_ahead_of_an_old_look_accuses_nobody(open_vault: OpenVault) -> None:
    """No pointer yet, and then a ledger that knows of completed runs: the pointer has come."""
    other = open_vault("other")
    here = overtaken(open_vault("here"), lambda: publish(other, "a"))
    (done,) = here.compact([NAME])
    assert done.version is None


def test_a_copy_is_made_of_a_version_that_has_just_come(
    open_vault: OpenVault, tmp_path: Path
) -> None:
    """No version yet, and then one: whoever is told of it has its files."""
    other = open_vault("other")
    publish(other)
    other.write({NAME: upserts(record("a", 1))}, run_id="a")
    here = overtaken(open_vault("here"), lambda: other.compact([NAME]))
    version = here.open_copy(NAME, tmp_path / "copy")
    assert version.manifest.number == 1
    assert sorted(read_rows(tmp_path / "copy")[1]) == ["a"]


@pytest.mark.parametrize("job", ["merge", "verify-changes"])
def test_what_is_kept_may_go_while_it_is_compared_with(open_vault: OpenVault, job: str) -> None:
    """Two newer versions push a kept one out, under a compactor that verifies by what changed."""
    here, other = open_vault("here"), open_vault("other", "here")
    publish(here, "a", "b", "c")
    here.write({NAME: upserts(record("a", 2))}, run_id="again")
    here.parts = replace(
        here.parts,
        sandbox=InterruptedSandbox(here.parts.sandbox, job, lambda: again(other, "d", "e", "f")),
    )
    (done,) = here.compact([NAME])
    assert done.lost_races == 1


def again(vault: Vault, *run_ids: str) -> None:
    """Publish a version for each run, of records that are there."""
    for number, run_id in enumerate(run_ids):
        vault.write({NAME: upserts(record("b", number))}, run_id=run_id)
        vault.compact([NAME])


def write(vault: Vault, *names: str) -> None:
    """Write a run for each name, with a record of that name."""
    for name in names:
        vault.write({NAME: upserts(record(name, 1))}, run_id=name)


def test_a_run_may_be_written_again_while_its_delta_goes(open_vault: OpenVault) -> None:
    """A version has it, and rules let its delta go between two looks: it is there as before."""
    here, other = open_vault("here"), open_vault("other")
    publish(other, "a")

    def collect_before_the_next_look() -> None:
        store.let(lambda: other.gc(NAME, Policy(deltas_after=1)))

    delta = keys.delta(NAME, "a", here.parts.codec.suffix)
    store = Overtaken(here.parts.store, collect_before_the_next_look, before=delta)
    here.parts = replace(here.parts, store=store)
    changes = {NAME: upserts(record("a", 1))}
    # Other bytes, and the same changes.
    written = here.write(changes, run_id="a", attributes={"by": "another"})
    assert (written.new, written.run.parts[NAME].state) == (False, RunState.COMPLETED)


def test_a_pointer_that_comes_while_a_repair_looks_is_not_lost(open_vault: OpenVault) -> None:
    """No pointer yet, and then a version and what is left of an attempt at it."""
    other = open_vault("other")
    publish(other)
    other.write({NAME: upserts(record("a", 1))}, run_id="a")

    def publish_beside_another() -> None:
        other.compact([NAME])
        attempt = f"{other.version(NAME).version_id[:-32]}{0:032}"
        other.parts.store.create(keys.manifest(NAME, attempt), b"{}")

    here = overtaken(open_vault("here"), publish_beside_another)
    with pytest.raises(Conflict) as caught:
        here.repair(NAME)
    assert caught.value.kind == "lost-race"


@pytest.mark.parametrize("act", [write, publish])
def test_a_doctor_accuses_no_run_that_has_come_since_it_looked(
    open_vault: OpenVault, monkeypatch: pytest.MonkeyPatch, act: Callable[[Vault, str], None]
) -> None:
    """A run that is written or merged while others are looked at is neither lost nor missing."""
    here, other = open_vault("here"), open_vault("other")
    publish(here, "a", "b")
    newest = here.parts.ledger.newest

    def overtaken_once(*, collection: str = "", limit: int = 100) -> list[Run]:
        if collection and other.parts.ledger.get("c") is None:
            act(other, "c")
        return newest(collection=collection, limit=limit)

    monkeypatch.setattr(here.parts.ledger, "newest", overtaken_once)
    assert [remark for remark in here.doctor() if not remark.passed] == []
    assert other.parts.ledger.get("c") is not None


def test_a_doctor_takes_no_run_that_is_being_written_for_half_a_run(
    open_vault: OpenVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its delta was there when deltas were listed, and the ledger knows it by now."""
    here = open_vault("here")
    publish(here, "a")
    write(here, "b")
    newest = here.parts.ledger.newest

    def without_b(*, collection: str = "", limit: int = 100) -> list[Run]:
        found = newest(collection=collection, limit=limit)
        return [run for run in found if run.run_id != "b"]

    monkeypatch.setattr(here.parts.ledger, "newest", without_b)
    assert [remark for remark in here.doctor() if not remark.passed] == []


def test_a_run_whose_delta_has_gone_since_it_was_merged_is_not_set_aside(
    open_vault: OpenVault,
) -> None:
    """Another compactor merged it and the rules let its delta go: it is done, and not failed."""
    here, other = open_vault("here"), open_vault("other")
    here.write({NAME: upserts(record("a", 1))}, run_id="a")

    def merge_and_collect() -> None:
        other.compact([NAME])
        other.gc(NAME, Policy(deltas_after=1))

    delta = keys.delta(NAME, "a", here.parts.codec.suffix)
    store = Overtaken(here.parts.store, merge_and_collect, before=delta)
    here.parts = replace(here.parts, store=store)
    (done,) = here.compact([NAME])
    assert not done.failed
    assert here.run("a").parts[NAME].state is RunState.COMPLETED
