"""replicate beside pull, push, other machines, itself and its own death."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.errors import Conflict
from chromaseal.replication.push import Pushed
from chromaseal.replication.replicate import Replicated, Skipped, _size_bytes
from chromaseal.sandbox import Plain
from chromaseal.testing.directory_states import contents, replace_contents
from chromaseal.testing.faults import Fault, FaultyStore, SimulatedCrash
from chromaseal.testing.machine import Machine

NAME = "notes"
DATABASE = "chroma.sqlite3"


@pytest.fixture
def machine(tmp_path: Path, sandbox: ProcessSandbox) -> Machine:
    """Give a machine whose application has a directory, and an empty vault."""
    return Machine(ObstoreObjectStore("memory://"), tmp_path / "cache", tmp_path / "live", sandbox)


def begun(machine: Machine) -> Iterator[Replicated]:
    """Begin to replicate the application's directory; it ends if there is nothing to publish."""
    return machine.vault.replicate(machine.directory, NAME, interval_s=0.01, stop=_looks(10))


def _looks(count: int) -> Callable[[], bool]:
    left = iter(range(count))
    return lambda: next(left, None) is None


def replicated(machine: Machine, state: Path | None = None) -> int:
    """Replicate once, from a state that the application may have reached; give the number."""
    if state is not None:
        replace_contents(machine.directory, state)
    return number_of(begun(machine))


def number_of(found: Iterator[Replicated]) -> int:
    """Give the number of the next version that is published."""
    pushed = next(done for done in islice(found, 10) if isinstance(done, Pushed))
    return pushed.version.manifest.number


def kind_of(act: Callable[[], object]) -> str:
    """Do something that must be refused; give the kind of the refusal."""
    with pytest.raises(Conflict) as caught:
        act()
    return caught.value.kind


def records_in(machine: Machine) -> dict[str, str]:
    """Give the newest version's records by their hash."""
    manifest = machine.vault.version(NAME).manifest
    return {each.name: each.records.multiset for each in manifest.collections}


def known_files(machine: Machine) -> list[Path]:
    """Give what is written down of the copies of a machine."""
    return list(machine.cache.glob("*/*/replicas/*/known.json"))


def test_a_directory_that_was_pulled_is_replicated_on(
    machine: Machine, states: list[Path], tmp_path: Path
) -> None:
    """Whoever takes over another machine's version goes on from there."""
    assert replicated(machine, states[0]) == 1
    other = machine.stranger(tmp_path / "other")
    other.vault.pull(NAME, other.directory)
    other.push(NAME, states[1])
    replace_contents(machine.directory, states[2])
    assert kind_of(lambda: replicated(machine)) == "not-the-newest"
    machine.vault.pull(NAME, machine.directory, overwrite=True)
    assert replicated(machine, states[3]) == 3


def test_a_directory_that_was_replicated_is_pushed(machine: Machine, states: list[Path]) -> None:
    """Both publish what follows the newest version, so the one can go on for the other."""
    assert replicated(machine, states[0]) == 1
    machine.push(NAME, states[1])
    assert machine.vault.version(NAME).manifest.number == 2
    assert replicated(machine, states[2]) == 3
    machine.push(NAME, states[3])
    assert machine.vault.version(NAME).manifest.number == 4


def test_an_older_version_that_was_pulled_undoes_nothing(
    machine: Machine, states: list[Path]
) -> None:
    """What the copy was once does not speak for a directory that was brought to something else."""
    assert replicated(machine, states[0]) == 1
    assert replicated(machine, states[1]) == 2
    newest = records_in(machine)
    machine.vault.pull(NAME, machine.directory, at="1", overwrite=True)
    assert kind_of(lambda: replicated(machine)) == "not-the-newest"
    assert kind_of(lambda: machine.vault.push(machine.directory, NAME)) == "not-the-newest"
    assert records_in(machine) == newest


def test_an_older_version_pulled_during_a_commit_undoes_nothing(
    machine: Machine, states: list[Path]
) -> None:
    """The copy that was made before is published; what came after it is known for what it is."""
    assert replicated(machine, states[0]) == 1
    assert replicated(machine, states[1]) == 2

    def pull_the_first() -> None:
        machine.vault.pull(NAME, machine.directory, at="1", overwrite=True)

    late = machine.interrupted("verify", pull_the_first)
    assert replicated(late, states[2]) == 3
    newest = records_in(machine)
    assert kind_of(lambda: replicated(machine)) == "not-the-newest"
    assert kind_of(lambda: machine.vault.push(machine.directory, NAME)) == "not-the-newest"
    assert records_in(machine) == newest


def test_a_newest_version_pushed_by_others_during_a_copy_stays(
    machine: Machine, states: list[Path]
) -> None:
    """A copy that is older than what was pushed from the same directory is not published."""
    assert replicated(machine, states[0]) == 1
    replace_contents(machine.directory, states[1])
    # Verifying is after the copy: an attempt loses its race against the push.
    late = machine.interrupted("verify", lambda: machine.push(NAME, states[2]))
    assert kind_of(lambda: replicated(late)) == "not-the-newest"
    assert replicated(machine, states[3]) == 3


def test_a_copy_that_does_not_verify_is_never_published(
    machine: Machine, states: list[Path]
) -> None:
    """It is told and thrown away; the next one is published, with what the application has."""
    assert replicated(machine, states[0]) == 1
    replace_contents(machine.directory, states[1])

    def damage() -> None:
        (copy,) = machine.cache.glob("*/*/replicas/*/directory/*/data_level0.bin")
        copy.write_bytes(bytes(copy.stat().st_size))

    found = begun(machine.interrupted("copy-live", damage))
    skipped = next(found)
    assert isinstance(skipped, Skipped)
    assert "did not pass verification" in skipped.reason
    assert machine.vault.version(NAME).manifest.number == 1
    assert not known_files(machine)
    assert number_of(found) == 2
    newest = records_in(machine)
    machine.push("pushed", states[1])
    pushed = machine.vault.version("pushed").manifest
    assert newest == {each.name: each.records.multiset for each in pushed.collections}


def test_a_copy_of_a_busy_moment_is_never_published(
    machine: Machine, states: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it would verify: nobody knows whether the application was ever in that state."""
    replace_contents(machine.directory, states[0])
    run = ProcessSandbox.run

    def busy(self: ProcessSandbox, job: str, *rest: Any, **options: Any) -> Plain:  # noqa: ANN401
        answer = run(self, job, *rest, **options)
        return answer | {"consistent": False, "reason": "busy"} if job == "copy-live" else answer

    monkeypatch.setattr(ProcessSandbox, "run", busy)
    assert list(islice(begun(machine), 2)) == [Skipped("busy")] * 2
    assert list(machine.store.list("")) == []
    monkeypatch.undo()
    assert replicated(machine) == 1


def test_a_copy_of_another_boot_is_made_anew(machine: Machine, states: list[Path]) -> None:
    """After a power cut a file may have its time and size, and not its content."""
    assert replicated(machine, states[0]) == 1
    (known,) = known_files(machine)
    known.write_text(json.dumps(json.loads(known.read_text()) | {"boot_id": "before the cut"}))
    for path in known.parent.glob("directory/*/*.bin"):
        path.write_bytes(bytes(path.stat().st_size))
    assert list(begun(machine)) == []
    assert contents(known.parent / "directory").items() <= contents(machine.directory).items()


def test_a_replicate_goes_on_where_it_died(
    tmp_path: Path, states: list[Path], sandbox: ProcessSandbox
) -> None:
    """The pointer has moved, nobody has heard of it, and the application has written since."""
    store = FaultyStore(ObstoreObjectStore("memory://"))
    machine = Machine(store, tmp_path / "cache", tmp_path / "live", sandbox)
    assert replicated(machine, states[0]) == 1
    replace_contents(machine.directory, states[1])
    for after in range(40):
        store.plan(Fault.CRASH_AFTER, after=after)
        with pytest.raises(SimulatedCrash):
            replicated(machine)
        store.heal()
        if store.fired[-1].operation == "replace":
            break
    assert machine.vault.version(NAME).manifest.number == 2
    assert replicated(machine, states[2]) == 3


def test_one_directory_is_replicated_once_at_a_time(machine: Machine, states: list[Path]) -> None:
    """A second one on the machine is told so, and can begin when the first has ended."""
    replace_contents(machine.directory, states[0])
    first = machine.vault.replicate(machine.directory, NAME, interval_s=0.01)
    assert number_of(first) == 1
    assert kind_of(lambda: replicated(machine, states[1])) == "already-replicated"
    assert number_of(first) == 2
    assert isinstance(first, Generator)
    first.close()
    assert replicated(machine, states[2]) == 3


def test_a_cache_that_cannot_be_written_is_named(machine: Machine, states: list[Path]) -> None:
    """A file where the copies are to be, or a directory where a file is."""
    replace_contents(machine.directory, states[0])
    replicas = machine.vault.parts.checkouts.folder(NAME) / "replicas"
    replicas.parent.mkdir(parents=True)
    replicas.touch()
    assert kind_of(lambda: replicated(machine)) == "cannot-write"
    replicas.unlink()
    assert replicated(machine) == 1
    (known,) = known_files(machine)
    known.unlink()
    known.mkdir()
    assert kind_of(lambda: replicated(machine, states[1])) == "cannot-write"


@pytest.mark.parametrize("known", ["{}", "[]", "no JSON", '{"boot_id": "", "stats": 5}'])
def test_what_cannot_be_read_of_a_copy_is_made_anew(
    machine: Machine, states: list[Path], known: str
) -> None:
    """Whatever stands in the file that tells of a copy, the next start publishes."""
    assert replicated(machine, states[0]) == 1
    (path,) = known_files(machine)
    path.write_text(known)
    assert replicated(machine, states[1]) == 2
    assert json.loads(path.read_text()).keys() == {"boot_id", "stats"}
    assert {each.name for each in path.parent.iterdir()} == {"directory", "known.json"}


def test_files_may_go_while_a_directory_is_weighed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's journal comes and goes with every commit."""
    (tmp_path / DATABASE).write_bytes(bytes(5))
    journal = tmp_path / f"{DATABASE}-journal"
    journal.touch()
    lstat = Path.lstat

    def late_lstat(path: Path) -> object:
        journal.unlink(missing_ok=True)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", late_lstat)
    assert _size_bytes(tmp_path) == 5
