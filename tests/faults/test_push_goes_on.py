"""A push that died as the pointer had just moved, and the application that went on since."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.errors import Conflict
from chromaseal.testing.directory_states import contents, made_states
from chromaseal.testing.faults import Fault, FaultyStore, SimulatedCrash
from chromaseal.testing.machine import Machine

NAME = "notes"


@pytest.mark.slow
def test_a_push_goes_on_where_it_died(tmp_path: Path, sandbox: ProcessSandbox) -> None:
    """The newest version is known to be this directory's, whatever has been written since."""
    first, second, third = made_states()[:3]
    store = FaultyStore(ObstoreObjectStore("memory://"))
    machine = Machine(store, tmp_path / "cache", tmp_path / "directory", sandbox)
    machine.push(NAME, first)
    crash_at_the_pointer(store, machine, second)
    machine.push(NAME, third)
    assert [entry.version.number for entry in machine.vault.log(NAME)] == [3, 2, 1]
    assert machine.fetched(NAME) == contents(third)
    stranger = machine.stranger(tmp_path / "other")
    with pytest.raises(Conflict, match="would undo what came since"):
        stranger.push(NAME, first)


def crash_at_the_pointer(store: FaultyStore, machine: Machine, state: Path) -> None:
    """Die after the pointer has moved: tried with ever later writes until it was that one."""
    for after in range(20):
        store.plan(Fault.CRASH_AFTER, after=after)
        try:
            machine.push(NAME, state)
        except SimulatedCrash:
            store.heal()
            if store.fired[-1].operation == "replace":
                return
        else:
            raise AssertionError("the pointer never moved under a crash")
