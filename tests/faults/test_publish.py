"""A fault at every single store operation of a write and of a compaction, one after the other.

Afterwards a reader sees the old version or the new one, whole; running the same again ends with
the run contained exactly once and the records as they should be.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable
from typing import Protocol

import pytest

from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.delta.model import Changes
from chromaseal.errors import ChromasealError
from chromaseal.object_store import ObjectStore
from chromaseal.run.model import RunState
from chromaseal.testing.faults import Fault, FaultyStore, SimulatedCrash
from chromaseal.testing.oracle import Rows, assert_same_rows, change
from chromaseal.testing.records import record, upserts
from chromaseal.testing.whole import WHOLE
from chromaseal.vault import Vault

FIRST = upserts(record("a", 1, n=1), record("b", 2))
SECOND = Changes([record("c", 3)], {"a": {"n": 2}}, ["b"])
MOST_OPERATIONS = 40


class OpenVault(Protocol):
    """What the fixture ``vault_at`` gives; see ``tests/conftest.py``."""

    def __call__(
        self, url: str = "", *, store: Callable[[ObjectStore], ObjectStore] | None = None
    ) -> Vault:
        """Open a vault."""
        ...


class Setting:
    """A vault with one version, over a store that can be told to fail."""

    def __init__(self, vault: Vault, faulty: FaultyStore) -> None:
        self.vault = vault
        self.faulty = faulty
        self.old: Rows = {}
        change(self.old, FIRST)
        self.new = dict(self.old)
        change(self.new, SECOND)
        self.write(FIRST, "first")
        self.vault.compact(["notes"])

    def write(self, changes: Changes, run_id: str) -> None:
        """Write a run of a fixed name."""
        self.vault.write({"notes": changes}, run_id=run_id)

    def sees(self) -> int:
        """Give the number of the version that a reader sees, after comparing all of it."""
        with self.vault.reader("notes") as reader:
            number = reader.version.manifest.number
            assert_same_rows(reader.records(), [self.old, self.new][number - 1])
        return number

    def check_finished(self) -> None:
        """Both runs are in, each exactly once, and the ledger knows."""
        assert self.sees() == 2
        newest, oldest = (entry.version for entry in self.vault.log("notes"))
        assert [run_id for run_id, _ in newest.runs] == ["second"]
        assert [run_id for run_id, _ in oldest.runs] == ["first"]
        part = self.vault.run("second").parts["notes"]
        assert (part.state, part.version_id) == (RunState.COMPLETED, newest.version_id)

    def suffers(self, fault: Fault, after: int, act: Callable[[], object]) -> bool:
        """Do something while one operation fails; give whether the fault fired at all.

        What comes of it is success or one of our errors (or the simulated death), never
        anything else.
        """
        self.faulty.plan(fault, after=after)
        fired = len(self.faulty.fired)
        crash = fault in {Fault.CRASH_BEFORE, Fault.CRASH_AFTER}
        with contextlib.suppress(SimulatedCrash if crash else ChromasealError):
            act()
        self.faulty.heal()
        return len(self.faulty.fired) > fired


@pytest.fixture
def begin(vault_at: OpenVault) -> Callable[[], Setting]:
    """Give a function that makes fresh settings in memory."""

    def make() -> Setting:
        faulty = FaultyStore(ObstoreObjectStore("memory://"))
        return Setting(vault_at("memory://", store=lambda _: faulty), faulty)

    return make


@pytest.mark.parametrize("fault", Fault)
def test_a_write_survives_a_fault_anywhere(begin: Callable[[], Setting], fault: Fault) -> None:
    """Whatever store operation of a write fails: repeated, the run is there once and whole."""
    setting = begin()
    for after in itertools.count():
        name = f"run-{after}"

        def write(name: str = name) -> None:
            setting.write(upserts(record(name, 1)), name)

        fired = setting.suffers(fault, after, write)
        write()
        part = setting.vault.run(name).parts["notes"]
        assert (part.state, part.changes) == (RunState.PENDING, 1)
        if not fired:
            break
        assert after < MOST_OPERATIONS
    assert after >= 1
    assert setting.sees() == 1


# The first writes of a collection take another way (pins, a pointer that is not there yet) and
# are covered below; each case here costs a merge of about 0.2 s, so all of them are slow.
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", Fault)
def test_a_compaction_survives_a_fault_anywhere(begin: Callable[[], Setting], fault: Fault) -> None:
    """Whatever store operation of a compaction fails: old or new, whole, and once.

    Each kind of fault at every third operation, another third for the next kind; at all of
    them with ``make test-whole``.
    """
    start = 0 if WHOLE else list(Fault).index(fault) % 3
    for after in itertools.count(start, 1 if WHOLE else 3):
        setting = begin()
        setting.write(SECOND, "second")
        fired = setting.suffers(fault, after, functools.partial(setting.vault.compact, ["notes"]))
        assert setting.sees() in {1, 2}
        put_back(setting, fault)
        setting.vault.compact(["notes"])
        setting.check_finished()
        if not fired:
            break
        assert after < MOST_OPERATIONS
    assert after > start


def put_back(setting: Setting, fault: Fault) -> None:
    """A damaged reading of a delta sets its run aside; a person would retry it."""
    if fault in {Fault.CUT_READ, Fault.FLIPPED_BIT}:
        setting.vault.retry("second")


def instead(store: ObjectStore, _: ObjectStore) -> ObjectStore:
    """Put a store in the place of another one."""
    return store


@pytest.mark.parametrize("fault", Fault)
def test_the_first_write_survives_a_fault_anywhere(vault_at: OpenVault, fault: Fault) -> None:
    """The pin of a new collection is written once, whatever fails around it."""
    for after in itertools.count():
        faulty = FaultyStore(ObstoreObjectStore("memory://"))
        vault = vault_at("memory://", store=functools.partial(instead, faulty))
        name = f"run-{after}"
        faulty.plan(fault, after=after)
        try:
            vault.write({"notes": FIRST}, run_id=name)
        except (ChromasealError, SimulatedCrash):
            assert faulty.fired
        faulty.heal()
        vault.write({"notes": FIRST}, run_id=name)
        pin = vault.pin("notes")
        assert pin is not None
        assert pin.dimension == 4
        assert vault.run(name).parts["notes"].changes == 2
        if not faulty.fired:
            break
        assert after < MOST_OPERATIONS
    assert after >= 1


def test_a_crash_between_commit_and_ledger_is_found_out(begin: Callable[[], Setting]) -> None:
    """The pointer has moved, the ledger has not heard: the next compaction tells it."""
    setting = begin()
    setting.write(SECOND, "second")
    crash_at_pointer(setting)
    assert setting.sees() == 2
    assert setting.vault.run("second").parts["notes"].state is RunState.PENDING
    (done,) = setting.vault.compact(["notes"])
    assert (done.version, done.contained) == (None, ("second",))
    setting.check_finished()


def crash_at_pointer(setting: Setting) -> None:
    """Let the process die after the pointer has moved: the only replace of a compaction."""
    inner, faulty = setting.faulty.inner, setting.faulty

    class Dying(FaultyStore):
        """Dies after a replace."""

        def replace(self, key: str, body: bytes, *, etag: str) -> None:
            inner.replace(key, body, etag=etag)
            raise SimulatedCrash(key)

    faulty.inner = Dying(inner)
    with pytest.raises(SimulatedCrash):
        setting.vault.compact(["notes"])
    faulty.inner = inner
