"""The pointer: moved without an answer, moved by another, and lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import Damaged, Unavailable
from chromaseal.testing.directory_states import contents, replace_contents
from chromaseal.testing.machine import Machine, RememberingSandbox

NAME = "notes"


class Meddled(ObstoreObjectStore):
    """A store in which something happens right before the pointer moves, or right after it.

    Attributes:
        before: what happens before the next move.
        after: what happens after the next move, whose reply is lost.
    """

    def __init__(self) -> None:
        super().__init__("memory://")
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []

    def replace(self, key: str, body: bytes, *, etag: str) -> None:
        """Change an object."""
        if self.before:
            self.before.pop()()
        super().replace(key, body, etag=etag)
        if self.after:
            self.after.pop()()
            raise Unavailable(f"no answer for {key}", kind="store-unavailable")


@pytest.fixture
def store() -> Meddled:
    """Give an empty one."""
    return Meddled()


@pytest.fixture
def machine(store: Meddled, remembering: RememberingSandbox, tmp_path: Path) -> Machine:
    """Give a machine in front of that store."""
    return Machine(store, tmp_path / "cache", tmp_path / "app", remembering)


def ids_of(machine: Machine) -> list[str]:
    """Give the ids of all versions, oldest first."""
    return [entry.version.version_id for entry in machine.vault.log(NAME)][::-1]


def test_a_move_without_an_answer_is_found_under_what_came_after(
    machine: Machine, store: Meddled, states: list[Path], tmp_path: Path
) -> None:
    """The pointer names another's version by then, and mine is the one before: it is published."""
    machine.push(NAME, states[0])
    replace_contents(machine.directory, states[1])
    other = machine.stranger(tmp_path / "other")

    def go_on() -> None:
        other.vault.pull(NAME, other.directory)
        other.push(NAME, states[2])

    store.after.append(go_on)
    pushed = machine.vault.push(machine.directory, NAME)
    assert pushed.new
    assert not pushed.lost_races
    assert pushed.version.version_id == ids_of(machine)[1]
    assert len(ids_of(machine)) == 3
    assert machine.fetched(NAME, "3") == contents(states[2])


def test_a_lost_race_is_never_called_won(
    machine: Machine, store: Meddled, states: list[Path], tmp_path: Path
) -> None:
    """Whoever is second comes after the winner, and its first attempt is no version."""
    machine.push(NAME, states[0])
    replace_contents(machine.directory, states[1])
    other = machine.stranger(tmp_path / "other")
    store.before.append(lambda: other.push(NAME, states[2], replace=True))
    pushed = machine.vault.push(machine.directory, NAME, replace=True)
    assert pushed.lost_races == 1
    assert pushed.version.manifest.number == 3
    assert pushed.version.version_id == ids_of(machine)[-1]
    assert machine.fetched(NAME, "2") == contents(states[2])
    assert machine.fetched(NAME, "3") == contents(states[1])


def test_a_lost_pointer_is_no_new_collection(machine: Machine, states: list[Path]) -> None:
    """Where there have been versions, none is published as the first, and none is said to lack."""
    for state in states[:2]:
        machine.push(NAME, state)
    machine.store.delete(keys.pointer(NAME))
    stored = {info.key for info in machine.store.list("")}
    acts: list[Callable[[], object]] = [
        lambda: machine.push(NAME, states[2], replace=True),
        lambda: machine.vault.version(NAME),
        lambda: list(machine.vault.log(NAME)),
    ]
    for act in acts:
        with pytest.raises(Damaged) as caught:
            act()
        assert caught.value.kind == "missing-pointer"
    assert {info.key for info in machine.store.list("")} == stored
