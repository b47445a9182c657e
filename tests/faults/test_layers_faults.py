"""A fault at every single store operation of everything that moves versions, one after the other.

Afterwards a reader that has seen nothing yet finds the old version or the new one, byte for byte;
doing the same again works; and after one more version and a collection of garbage there is nothing
in the vault that no version needs, and everything that one needs. Directories are verified by the
real sandbox once per content, and its answer is remembered.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.errors import ChromasealError
from chromaseal.metering import CountingStore
from chromaseal.replication import follow
from chromaseal.snapshot import chain, history
from chromaseal.snapshot.retention import Policy
from chromaseal.snapshot.tags import write_tag
from chromaseal.testing.audit import assert_clean, audit, outline
from chromaseal.testing.directory_states import contents
from chromaseal.testing.faults import Fault, FaultyStore, SimulatedCrash
from chromaseal.testing.machine import Machine
from chromaseal.testing.whole import WHOLE, part_of

NAME = "notes"
OPERATIONS = ("create", "replace", "get", "get_range", "head", "list", "delete")
CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
LAST = 7


@dataclass(frozen=True)
class Limits:
    """When chains are folded, bases made anew and histories continued on a page."""

    chain: int = 16
    outweighed: float = 100.0
    page: int = 64


@dataclass(frozen=True)
class Operation:
    """Something that is done while one store operation fails.

    Attributes:
        before: the states that are published before it, by number.
        after: what versions it adds.
        act: what it is.
        limits: of the chain.
        prepare: what else is done before it, once.
        reads: it is done by a machine that has seen nothing of the vault, or by the publisher.
        begin: what that machine does first, while nothing fails.
        check: asserts what holds once it was done without an error.
        kinds: what doing it again may answer instead, because it was done.
    """

    before: tuple[int, ...]
    act: Callable[[Trial], object]
    after: tuple[int, ...] = ()
    limits: Limits = field(default_factory=Limits)
    prepare: Callable[[Machine], object] = lambda machine: machine
    reads: bool = False
    begin: Callable[[Trial], object] = lambda trial: trial
    check: Callable[[Trial], object] = lambda trial: trial
    kinds: tuple[str, ...] = ()


@dataclass
class Trial:
    """One operation on a machine of its own.

    Attributes:
        machine: that does it.
        folder: for what it makes.
        states: the directories.
    """

    machine: Machine
    folder: Path
    states: list[Path]

    @property
    def target(self) -> Path:
        """Give a directory to bring versions to."""
        return self.folder / "place" / "target"

    def pull(self, at: str = "") -> None:
        """Bring the directory to a version."""
        self.machine.vault.pull(NAME, self.target, at=at)

    def left_beside(self) -> list[str]:
        """Name what stands beside the target."""
        place = self.target.parent
        names = [path.name for path in place.iterdir()] if place.is_dir() else []
        return sorted(set(names) - {self.target.name})

    def state_of(self, directory: Path) -> int | None:
        """Say which state a directory is, whole; None where there is nothing."""
        if not directory.exists():
            return None
        found = contents(directory)
        return next(n for n, state in enumerate(self.states) if contents(state) == found)


def push(state: int) -> Callable[[Trial], object]:
    """Publish a state."""
    return lambda trial: trial.machine.push(NAME, trial.states[state])


def leave_attempts(machine: Machine) -> None:
    """Tag a version, and leave what writers leave that die before the pointer moves."""
    machine.vault.tag(NAME, "keep", at="2")
    for after in itertools.count(0, 3):
        dying = FaultyStore(machine.store)
        dying.plan(Fault.CRASH_BEFORE, after=after)
        with contextlib.suppress(SimulatedCrash):
            machine.with_store(dying).vault.rollback(NAME, "1")
        if not dying.fired:
            break
    assert len(audit(machine.store, NAME).orphans) > 2


def check_pulled(trial: Trial) -> None:
    """The directory is the newest state, and nothing is left beside it."""
    assert trial.state_of(trial.target) == 3
    assert trial.left_beside() == []


def check_followed(trial: Trial) -> None:
    """The link leads to the newest state."""
    assert trial.state_of(trial.target / follow.CURRENT) == 3
    assert all(not name.endswith(".unfinished") for name in trial.left_beside())


def check_collected(trial: Trial) -> None:
    """Versions 2, by its tag, and 5, the newest, are what is left."""
    numbers = [int(each.split("_")[3]) for each in assert_clean(trial.machine.store, NAME).kept]
    assert numbers == [2, 5]


def check_tagged(trial: Trial) -> None:
    """The tag names version 2."""
    assert trial.machine.vault.version(NAME, "gold").manifest.number == 2


def check_untagged(trial: Trial) -> None:
    """No tag is left."""
    assert trial.machine.vault.tags(NAME) == {}


def advance(trial: Trial) -> object:
    """Bring a followed folder up to date."""
    return follow.advance(trial.machine.vault.parts, NAME, trial.target)


def collect(trial: Trial) -> object:
    """Collect garbage and all but the newest version."""
    return trial.machine.vault.gc(NAME, Policy(keep_last=1))


def tag_second(machine: Machine) -> None:
    """Name version 2."""
    write_tag(machine.store, "gold", machine.vault.version(NAME, "2"))


CASES = {
    "push of a first version": Operation((), push(0), (0,)),
    "push": Operation((0,), push(1), (1,)),
    "push with a fold": Operation((0, 1, 2), push(3), (3,), Limits(chain=3)),
    "push with a new base": Operation((0, 1), push(2), (2,), Limits(outweighed=1.0, page=2)),
    "pull": Operation((0, 1, 2, 3), Trial.pull, reads=True, check=check_pulled),
    "pull by steps": Operation(
        (0, 1, 2, 3),
        Trial.pull,
        limits=Limits(page=2),
        reads=True,
        begin=lambda trial: trial.pull("2"),
        check=check_pulled,
    ),
    "follow": Operation(
        (2, 3),
        advance,
        reads=True,
        begin=lambda trial: trial.target.mkdir(parents=True),
        check=check_followed,
    ),
    "rollback": Operation(
        (0, 1, 2),
        lambda trial: trial.machine.vault.rollback(NAME, "1"),
        (0,),
    ),
    "tag": Operation(
        (0, 1, 2),
        lambda trial: trial.machine.vault.tag(NAME, "gold", at="2"),
        check=check_tagged,
    ),
    "untag": Operation(
        (0, 1, 2),
        lambda trial: trial.machine.vault.untag(NAME, "gold"),
        prepare=tag_second,
        check=check_untagged,
        kinds=("no-tag",),
    ),
    "gc": Operation(
        (0, 1, 2, 3),
        collect,
        (0,),
        limits=Limits(chain=3, page=2),
        prepare=leave_attempts,
        check=check_collected,
    ),
}


class Trials:
    """Every fault at every store operation of one operation, and what is counted."""

    def __init__(
        self, operation: Operation, template: Machine, states: list[Path], folder: Path
    ) -> None:
        self.operation = operation
        self.template = template
        self.states = states
        self.folder = folder
        self.planned = self.fired = 0
        self._names = itertools.count()
        self._outlines: set[tuple[str, ...]] = set()

    def operations(self) -> dict[str, int]:
        """Do it undisturbed and count its store operations by name."""
        store = CountingStore(ObstoreObjectStore("memory://"))
        trial = self.begin(store)
        before = store.usage
        self.operation.act(trial)
        used = store.usage.since(before)
        self.operation.check(trial)
        self.finish(trial, store)
        return {name: getattr(used, name) for name in OPERATIONS}

    def begin(self, store: CountingStore | FaultyStore) -> Trial:
        """Make a machine that is as far as the template."""
        folder = self.folder / str(next(self._names))
        folder.mkdir()
        machine = self.template.copy(
            store.inner, folder / "cache", between=lambda inner: self._between(store, inner)
        )
        if self.operation.reads:
            machine = machine.stranger(folder / "reader")
        trial = Trial(machine, folder, self.states)
        self.operation.begin(trial)
        return trial

    @staticmethod
    def _between(store: CountingStore | FaultyStore, inner: object) -> CountingStore | FaultyStore:
        assert store.inner is inner
        return store

    def suffer(self, fault: Fault, after: int) -> None:
        """Do it while one store operation fails, look, do it again, look again."""
        self.planned += 1
        faulty = FaultyStore(
            ObstoreObjectStore("memory://"), wait=lambda *_: self.check_reader(trial, faulty)
        )
        trial = self.begin(faulty)
        faulty.plan(fault, after=after)
        crash = fault in CRASHES
        with contextlib.suppress(SimulatedCrash if crash else ChromasealError):
            self.operation.act(trial)
        faulty.heal()
        self.fired += len(faulty.fired)
        self.check_reader(trial, faulty)
        assert trial.left_beside() == []
        try:
            self.operation.act(trial)
        except ChromasealError as error:
            if error.kind not in self.operation.kinds:
                raise
        self.operation.check(trial)
        self.finish(trial, faulty)
        shutil.rmtree(trial.folder)

    def check_reader(self, trial: Trial, store: CountingStore | FaultyStore) -> bool:
        """Look with eyes that have seen nothing yet: the newest version is whole."""
        reader = trial.machine.stranger(trial.folder / f"seen-{next(self._names)}", store.inner)
        expected = [*self.operation.before, *self.operation.after]
        if not self.operation.before and not reader.vault.has_version(NAME):
            return True
        number = reader.vault.version(NAME).manifest.number
        assert len(self.operation.before) <= number <= len(expected)
        assert reader.fetched(NAME) == contents(self.states[expected[number - 1]])
        return True

    def finish(self, trial: Trial, store: CountingStore | FaultyStore) -> None:
        """After one more version and a collection nothing is missing and nothing is left over.

        Looked at once for each set of objects that a fault can leave behind.
        """
        found = outline(store.inner, NAME)
        if found in self._outlines:
            return
        self._outlines.add(found)
        expected = [*self.operation.before, *self.operation.after]
        machine = Machine(
            store.inner,
            trial.folder / "cache",
            self.template.directory,
            self.template.vault.parts.sandbox,
        )
        machine.push(NAME, self.states[LAST], replace=True)
        machine.vault.gc(NAME, Policy(keep_last=2))
        clean = assert_clean(store.inner, NAME)
        reader = machine.stranger(trial.folder / "last")
        for version_id in clean.kept:
            number = int(version_id.split("_")[3])
            last = number == len(clean.line)
            # A rollback that is done again brings back the same state once more.
            state = LAST if last else expected[min(number, len(expected)) - 1]
            assert reader.fetched(NAME, str(number)) == contents(self.states[state])


@pytest.fixture(params=CASES)
def trials(
    request: pytest.FixtureRequest,
    states: list[Path],
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Trials]:
    """Give an operation, everything before it done."""
    operation = CASES[request.param]
    monkeypatch.setattr(chain, "CHAIN_LIMIT", operation.limits.chain)
    monkeypatch.setattr(chain, "OUTWEIGHED", operation.limits.outweighed)
    monkeypatch.setattr(history, "PAGE_VERSIONS", operation.limits.page)
    for state in operation.before:
        machine.push(NAME, states[state])
    operation.prepare(machine)
    yield Trials(operation, machine, states, tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_fault_anywhere_does_no_harm(trials: Trials) -> None:
    """Whatever store operation fails: old or new, whole; done again, it is done; no litter.

    Each kind of fault at every third operation, another third for the next kind; at all of
    them with ``make test-whole``.
    """
    counts = trials.operations()
    assert sum(counts.values()) >= 2
    for number, fault in enumerate(Fault):
        struck = sum(n for name, n in counts.items() if fault.strikes(name))
        for after in part_of(range(struck), 3, start=number % 3):
            trials.suffer(fault, after)
    print(f"{trials.planned} faults planned, {trials.fired} fired at {counts}")
    assert trials.fired == trials.planned
    assert trials.planned > (6 if WHOLE else 2) * sum(counts.values()) / 2


def test_the_cases_are_what_they_say(trials: Trials, request: pytest.FixtureRequest) -> None:
    """A fold folds, a new base is one, a page is written, a pull by steps fetches steps."""
    name = request.node.callspec.params["trials"]
    store = CountingStore(ObstoreObjectStore("memory://"))
    trial = trials.begin(store)
    trials.operation.act(trial)
    manifest = trial.machine.vault.version(NAME).manifest
    if name == "push with a fold":
        assert [layer.depth for layer in manifest.layers] == [0, 1, 0]
    if name == "push with a new base":
        assert len(manifest.layers) == 1
        assert manifest.step is not None
        assert len(manifest.pages) == 1
    if name == "pull by steps":
        assert store.inner.head(keys.pointer(NAME)) is not None
    assert (name == "push of a first version") == (manifest.number == 1)
