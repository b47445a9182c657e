"""A run is cancelled or it is in a version, whatever a compactor is at meanwhile.

Over the stores, ledger and child of ``chromaseal.testing.simulation``, whose truth looks at every
version that comes to be.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chromaseal import keys, pools
from chromaseal.adapters.sqlalchemy.ledger import SqlLedger
from chromaseal.adapters.sqlalchemy.sqlite import SqliteDatabase
from chromaseal.errors import ChromasealError, Conflict, Damaged, Unavailable
from chromaseal.run.lease import Lease
from chromaseal.run.model import RunState
from chromaseal.run.owner import Owner
from chromaseal.sweep.ledger import sweep_ledger
from chromaseal.testing.faults import Fault, FaultyStore, SimulatedCrash
from chromaseal.testing.records import record, upserts
from chromaseal.testing.simulation.episode import Episode
from chromaseal.testing.simulation.memory_ledger import MemoryLedger
from chromaseal.vault import Vault

NAME = "lines"
MOST_OPERATIONS = 60


class Scene:
    """A vault with a run that is wanted and one that is not, and two processes.

    Args:
        folder: for their machines.
        has_version: whether a version is there already.
    """

    def __init__(self, folder: Path, *, has_version: bool) -> None:
        self.episode = Episode(0, folder)
        self.leases = SqlLedger(SqliteDatabase(None))
        self.here, self.other = self.open("here"), self.open("other")
        if has_version:
            self.write("before")
            self.other.compact([NAME])
        self.write("wanted")
        self.write("unwanted")

    def open(self, name: str) -> Vault:
        """Open the vault in another process."""
        vault = self.episode.process(name, name, 1).vault
        vault.parts = replace(vault.parts, leases=self.leases)
        return vault

    def write(self, run_id: str) -> None:
        """Write a run of one record."""
        changes = {NAME: upserts(record(run_id, 1))}
        self.episode.truth.asks(run_id, changes)
        self.other.write(changes, run_id=run_id)

    @property
    def merged(self) -> set[str]:
        """Give the runs that versions contain, after asking whether everything was right so far."""
        assert self.episode.truth.broken is None
        return set(self.episode.truth.line(NAME).merged)

    def state(self, run_id: str = "unwanted") -> RunState:
        """Give what the ledger says."""
        return self.other.run(run_id).parts[NAME].state


class Between:
    """Something of which one operation lets others act before it, or ends the process.

    Args:
        inner: what is asked.
        count: called before each operation.
    """

    def __init__(self, inner: object, count: Callable[[], None]) -> None:
        self._inner = inner
        self._count = count

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the inner one has
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def ask(*arguments: object, **options: object) -> object:
            self._count()
            return found(*arguments, **options)

        return ask


def before_operation(vault: Vault, number: int, act: Callable[[], object]) -> list[object]:
    """Let something happen before an operation on store or ledger; give what came of it."""
    counted = itertools.count()
    came: list[object] = []

    def count() -> None:
        if next(counted) == number:
            came.append(act())

    parts = vault.parts
    vault.parts = replace(
        parts, store=Between(parts.store, count), ledger=Between(parts.ledger, count)
    )
    return came


@contextmanager
def scene(folder: Path, *, has_version: bool) -> Iterator[Scene]:
    """Give a scene in which nothing happens by itself."""
    with pools.in_turn():
        made = Scene(folder, has_version=has_version)
        yield made
        made.leases.close()


def outcome_of(vault: Vault) -> str:
    """Cancel the run that is not wanted; give what was said of it."""
    try:
        vault.cancel("unwanted")
    except Conflict as error:
        return error.kind
    return "cancelled"


@pytest.mark.slow
@pytest.mark.parametrize("has_version", [True, False])
def test_a_run_is_cancelled_or_merged(tmp_path: Path, has_version: bool) -> None:  # noqa: FBT001
    """Cancelled before any operation of a compactor that holds it: what was said is what is so.

    Before a first version somebody who holds the lease cannot be kept from it; that is said, and
    asking again tells how it ended.
    """
    seen: Counter[str] = Counter()
    for number in range(MOST_OPERATIONS):
        with scene(tmp_path / f"{number}", has_version=has_version) as here:
            lease = here.leases.acquire(NAME, "here", duration_s=3600)
            assert lease is not None
            asked = before_operation(here.here, number, lambda: outcome_of(here.other))
            here.here.compact([NAME])
            if not asked:
                break
            (said,) = asked
            seen[str(said)] += 1
            if said == "being-merged":
                here.leases.release(lease)
                said = outcome_of(here.other)
            here.open("third").compact([NAME])
            is_merged = said == "already-merged"
            assert ("unwanted" in here.merged) == is_merged
            assert here.state() is (RunState.COMPLETED if is_merged else RunState.CANCELLED)
            assert "wanted" in here.merged
            assert here.other.versions_with(here.other.run("unwanted")).keys() == (
                {NAME} if is_merged else set()
            )
            mark = here.other.parts.store.head(keys.cancellation(NAME, "unwanted"))
            assert (mark is None) == is_merged
            assert sweep_ledger(here.other.parts).right == len(here.other.parts.ledger.newest())
    assert seen["already-merged"]
    assert seen["cancelled" if has_version else "being-merged"]
    assert number < MOST_OPERATIONS - 1


def test_who_was_stopped_before_the_commit_brings_in_nothing(tmp_path: Path) -> None:
    """Though others took its runs over and gave them back, and no lease tells of it any more."""
    with scene(tmp_path, has_version=True) as here:

        def stop_at_the_pointer(key: str, body: bytes, *, etag: str) -> None:
            if key == keys.pointer(NAME) and not said:
                waiting, runs = [RunState.MERGING], ["wanted", "unwanted"]
                ledger.move(runs, NAME, states=waiting, to=RunState.PENDING, at="later")
                said.append(outcome_of(here.other))
            replace_really(key, body, etag=etag)

        said: list[str] = []
        ledger, store = here.other.parts.ledger, here.here.parts.store
        replace_really = store.replace
        store.replace = stop_at_the_pointer  # type: ignore[method-assign]
        (done,) = here.here.compact([NAME])
        assert said == ["cancelled"]
        assert (done.lost_races, done.merged) == (1, ("wanted",))
        assert here.state() is RunState.CANCELLED


def test_whoever_is_done_as_the_lease_is_asked_for_is_seen(tmp_path: Path) -> None:
    """Before a first version: it may come to be between any two questions."""
    with scene(tmp_path, has_version=False) as here:
        lease = here.leases.acquire(NAME, "here", duration_s=3600)
        store, commit = here.here.parts.store, here.here.parts.store.create

        def stop_at_the_pointer(key: str, body: bytes | memoryview) -> None:
            if key == keys.pointer(NAME):
                kept.append(bytes(body))
                raise SimulatedCrash
            commit(key, body)

        def holder(name: str) -> Lease | None:
            commit(keys.pointer(NAME), kept[0])
            assert lease is not None
            here.leases.release(lease)
            return here.leases.holder(name)

        kept: list[bytes] = []
        store.create = stop_at_the_pointer  # type: ignore[method-assign]
        with suppress(SimulatedCrash):
            here.here.compact([NAME])
        leases = Between(here.leases, lambda: None)
        leases.holder = holder  # type: ignore[attr-defined]
        here.other.parts = replace(here.other.parts, leases=leases)
        assert outcome_of(here.other) == "already-merged"
        assert here.state() is RunState.COMPLETED


def test_a_first_version_holds_up_no_other_collection(tmp_path: Path) -> None:
    """The run is taken off everywhere, though of one collection nobody knows yet."""
    with scene(tmp_path, has_version=True) as here:
        changes = {name: upserts(record("both", 1)) for name in ("first", NAME)}
        here.episode.truth.asks("both", changes)
        here.other.write(changes, run_id="both")
        owner = str(Owner("host", 7, "1", "pid", "boot", "chance"))
        assert here.leases.acquire("first", owner, duration_s=3600) is not None
        with pytest.raises(Conflict, match="unless process 7 on host, who") as caught:
            here.other.cancel("both")
        assert caught.value.kind == "being-merged"
        here.other.compact([NAME])
        assert here.merged == {"before", "wanted", "unwanted"}


def test_a_cancelling_that_died_is_finished(tmp_path: Path) -> None:
    """Before any operation of its own: by the same command, or by a sweep once it has its mark."""
    for number in range(MOST_OPERATIONS):
        with scene(tmp_path / f"{number}", has_version=True) as here:

            def die() -> None:
                raise SimulatedCrash

            before_operation(here.here, number, die)
            with suppress(SimulatedCrash):
                here.here.cancel("unwanted")
                break
            marked = here.other.parts.store.head(keys.cancellation(NAME, "unwanted"))
            sweep_ledger(here.other.parts)
            assert (here.state() is RunState.CANCELLED) == (marked is not None)
            assert here.other.cancel("unwanted").cancelled == (NAME,)
            here.other.compact([NAME])
            assert here.merged == {"before", "wanted"}
    assert number in range(5, MOST_OPERATIONS - 1)


@pytest.mark.parametrize("fault", [Fault.NO_ANSWER, Fault.LOST_REPLY, Fault.FALSE_REFUSAL])
def test_a_cancelling_survives_a_fault_anywhere(tmp_path: Path, fault: Fault) -> None:
    """It says so, or has done it nevertheless; repeated, it ends."""
    for after in range(MOST_OPERATIONS):
        with scene(tmp_path / f"{after}", has_version=True) as here:
            faulty = FaultyStore(here.here.parts.store)
            here.here.parts = replace(here.here.parts, store=faulty)
            faulty.plan(fault, after=after)
            with suppress(ChromasealError):
                here.here.cancel("unwanted")
                assert here.state() is RunState.CANCELLED
            if not faulty.fired:
                break
            assert here.here.cancel("unwanted").cancelled == (NAME,)
            here.other.compact([NAME])
            assert here.merged == {"before", "wanted"}
    assert after in range(2, MOST_OPERATIONS - 1)


def test_a_lost_ledger_brings_no_cancelled_run_back(tmp_path: Path) -> None:
    """Neither by a sweep nor by a writer who repeats it; who repeats it is told."""
    with scene(tmp_path, has_version=True) as here:
        here.other.cancel("unwanted")
        lost = replace(here.other.parts, ledger=MemoryLedger())
        swept = sweep_ledger(lost)
        assert swept.added[RunState.CANCELLED] == 1
        here.other.parts = replace(lost, ledger=MemoryLedger())
        with pytest.raises(Conflict) as caught:
            here.write("unwanted")
        assert caught.value.kind == "run-cancelled"
        assert here.state() is RunState.CANCELLED
        here.write("wanted")
        here.other.compact([NAME])
        assert here.merged == {"before", "wanted"}


def test_a_ledger_that_forgets_merges_no_cancelled_run(tmp_path: Path) -> None:
    """One that has lost what it was told, as a replica may that was late: the vault is asked."""
    with scene(tmp_path, has_version=True) as here:
        here.other.cancel("unwanted")
        lost, kept = [RunState.CANCELLED], RunState.PENDING
        here.other.parts.ledger.move(["unwanted"], NAME, states=lost, to=kept, at="now")
        (done,) = here.other.compact([NAME])
        assert done.merged == ("wanted",)
        assert here.state() is RunState.CANCELLED
        assert here.other.compact([NAME])[0].version is None


def test_what_was_cancelled_can_be_put_back(tmp_path: Path) -> None:
    """Whether it waited or had failed; no sweep takes it off again, and it is merged once."""
    with scene(tmp_path, has_version=True) as here:
        ledger = here.other.parts.ledger
        pending, why = [RunState.PENDING], {"at": "now", "error": "torn"}
        ledger.move(["unwanted"], NAME, states=pending, to=RunState.FAILED, **why)
        assert here.other.cancel("unwanted").cancelled == (NAME,)
        assert here.other.run("unwanted").parts[NAME].error == "torn"
        assert here.other.cancel("unwanted").cancelled == (NAME,)
        with pytest.raises(Conflict, match="unwanted was cancelled"):
            here.write("unwanted")
        assert here.other.retry("unwanted") == [NAME]
        assert here.other.retry("unwanted") == []
        assert sweep_ledger(here.other.parts).cancelled == 0
        here.write("unwanted")
        here.other.compact([NAME])
        assert here.merged == {"before", "wanted", "unwanted"}
        assert outcome_of(here.other) == "already-merged"
        assert here.state() is RunState.COMPLETED


def test_a_ledger_that_is_ahead_of_the_vault_is_not_believed(tmp_path: Path) -> None:
    """It calls a run done that no version has, as after the vault was put back from a copy."""
    with scene(tmp_path, has_version=True) as here:
        ledger, store = here.other.parts.ledger, here.other.parts.store
        told = {"version_id": "lost", "at": "now"}
        ledger.move(["unwanted"], NAME, states=[RunState.PENDING], to=RunState.COMPLETED, **told)
        # The lie is the test's own.
        here.episode.truth.broken = None
        assert outcome_of(here.other) == "cancelled"
        assert here.state() is RunState.CANCELLED
        here.other.compact([NAME])
        assert here.merged == {"before", "wanted"}
        pointer = store.get(keys.pointer(NAME)).body
        store.delete(keys.pointer(NAME))
        with pytest.raises(Damaged) as caught:
            here.other.cancel("wanted")
        assert caught.value.kind == "missing-pointer"
        store.create(keys.pointer(NAME), pointer)
        assert outcome_of(here.other) == "cancelled"
        with pytest.raises(Conflict) as refused:
            here.other.cancel("wanted")
        assert refused.value.kind == "already-merged"


@pytest.mark.parametrize("first", ["cancel", "retry"])
def test_a_run_that_is_cancelled_has_its_mark(tmp_path: Path, first: str) -> None:
    """Cancelled, and put back before any operation of that; or the other way round."""
    then = {"cancel": "retry", "retry": "cancel"}[first]
    for number in range(MOST_OPERATIONS):
        with scene(tmp_path / f"{number}", has_version=True) as here:
            here.other.cancel("unwanted")
            asked = before_operation(
                here.here, number, lambda: getattr(here.other, then)("unwanted")
            )
            try:
                getattr(here.here, first)("unwanted")
            except Unavailable:
                # Its mark was there, and then was not: nobody knows, it is said, and repeated.
                getattr(here.here, first)("unwanted")
            marked = here.other.parts.store.head(keys.cancellation(NAME, "unwanted")) is not None
            assert marked or here.state() is not RunState.CANCELLED
            here.open("third").compact([NAME])
            assert ("unwanted" in here.merged) != marked
            if not asked:
                break
    assert number in range(2, MOST_OPERATIONS - 1)


def test_a_cancelled_run_keeps_the_reason_that_it_had(tmp_path: Path) -> None:
    """Whoever finds the mark later tells the ledger, and takes nothing away from it."""
    with scene(tmp_path, has_version=True) as here:
        here.other.cancel("unwanted")
        told = {"at": "now", "error": "torn"}
        states, to = [RunState.CANCELLED], RunState.PENDING
        here.other.parts.ledger.move(["unwanted"], NAME, states=states, to=to, **told)
        here.other.compact([NAME])
        part = here.other.run("unwanted").parts[NAME]
        assert (part.state, part.error) == (RunState.CANCELLED, "torn")
