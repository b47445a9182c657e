"""Any sequence of push, pull, tag, rollback, garbage collection and crashes, against plain copies.

The model is a list of directories, one per version, and what is known to be removed and tagged.
A crash happens at any store operation of anything; what became of it is then looked up, must be
all or nothing, and is the model's from there on. Directories are verified by the real sandbox once
per content.
"""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chromaseal import keys
from chromaseal.adapters.obstore.object_store import ObstoreObjectStore
from chromaseal.adapters.process.sandbox import ProcessSandbox
from chromaseal.errors import ChromasealError, NotFound
from chromaseal.snapshot import chain, checkouts, history, kept
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.audit import assert_clean, audit
from chromaseal.testing.clock import ManualClock
from chromaseal.testing.directory_states import contents, made_states
from chromaseal.testing.faults import Fault, FaultyStore, SimulatedCrash
from chromaseal.testing.machine import Machine, RememberingSandbox

NAME = "notes"
DONE = "done"
CRASHED = "crashed"
TAGS = ("gold", "silver")
# Where a crash happens, counted in store operations: often early, sometimes past the end.
CRASHES = st.none() | st.tuples(
    st.sampled_from([Fault.CRASH_BEFORE, Fault.CRASH_AFTER]), st.integers(0, 25)
)
POLICIES = st.builds(
    Policy,
    keep_last=st.none() | st.integers(0, 4),
    keep_days=st.none() | st.sampled_from([0.5, 2.0]),
)
Crash = tuple[Fault, int] | None


class Versions(RuleBasedStateMachine):
    """A vault in memory beside a list of directories."""

    states: list[Path]
    sandbox: RememberingSandbox

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="chromaseal-test-"))
        self.store = ObstoreObjectStore("memory://")
        self.clock = ManualClock()
        self.names = itertools.count()
        self.writer = self.machine("writer", self.store)
        self.reader = self.machine("reader", self.store)
        self.pulled: int | None = None
        self.versions: list[int] = []
        self.made_at: list[dt.datetime] = []
        self.removed: set[int] = set()
        self.announced: set[int] = set()
        self.tags: dict[str, int] = {}

    def machine(self, name: str, store: ObstoreObjectStore | FaultyStore) -> Machine:
        """Give a machine that keeps its cache under a name."""
        made = Machine(store, self.folder / name, self.folder / f"{name}-app", self.sandbox)
        made.vault.parts = replace(made.vault.parts, clock=self.clock)
        return made

    @property
    def present(self) -> set[int]:
        """Give the numbers of the versions that must be there."""
        return set(range(1, len(self.versions) + 1)) - self.removed

    def attempt(self, crash: Crash, name: str) -> Machine:
        """Give a machine of that name that may die."""
        faulty = FaultyStore(self.store)
        if crash:
            faulty.plan(crash[0], after=crash[1])
        return self.machine(name, faulty)

    @initialize(state=st.integers(0, 3))
    def first(self, state: int) -> None:
        """Begin with a version."""
        self.push(state, None)

    @rule(state=st.integers(0, 7), crash=CRASHES)
    def push(self, state: int, crash: Crash) -> None:
        """Publish a directory."""
        machine = self.attempt(crash, "writer")
        came = outcome(lambda: machine.push(NAME, self.states[state], replace=True))
        if came == CRASHED:
            self.look_for_version(state)
        else:
            assert came == DONE
            if self.versions[-1:] != [state]:
                self.add(state)

    def add(self, state: int) -> None:
        """A version was published."""
        self.versions.append(state)
        version = self.reader.vault.version(NAME)
        assert version.manifest.number == len(self.versions)
        self.made_at.append(version.as_past.created_at)

    def look_for_version(self, state: int) -> None:
        """Its writer died: the version is there or not."""
        number = self.reader.vault.version(NAME).manifest.number
        assert number - len(self.versions) in {0, 1}
        if number > len(self.versions):
            self.add(state)

    @rule(data=st.data(), crash=CRASHES)
    def rollback(self, data: st.DataObject, crash: Crash) -> None:
        """Bring back the content of any version."""
        number = data.draw(st.integers(1, len(self.versions)))
        machine = self.attempt(crash, "writer")
        came = outcome(lambda: machine.vault.rollback(NAME, str(number)))
        if came == CRASHED:
            self.look_for_version(self.versions[number - 1])
        elif number == len(self.versions):
            assert came == "already-newest"
        elif number in self.removed:
            assert came == "removed-version"
        else:
            assert came == DONE
            self.add(self.versions[number - 1])

    @rule(data=st.data(), crash=CRASHES, by_tag=st.booleans())
    def pull(self, data: st.DataObject, crash: Crash, *, by_tag: bool) -> None:
        """Bring a directory to any version, from whatever it is."""
        number = data.draw(st.integers(1, len(self.versions)))
        names = [name for name, tagged in self.tags.items() if tagged == number]
        at = names[0] if names and by_tag else str(number)
        target = self.folder / "place" / "target"
        machine = self.attempt(crash, "reader")
        came = outcome(lambda: machine.vault.pull(NAME, target, at=at))
        if came == DONE:
            assert number in self.present
            self.pulled = self.versions[number - 1]
        else:
            assert came == CRASHED or (came, number in self.removed) == ("removed-version", True)
        whole = [contents(self.states[n]) for n in {self.pulled} if n is not None]
        assert ([contents(target)] if target.exists() else []) == whole
        assert not target.parent.exists() or len(list(target.parent.iterdir())) == len(whole)

    @rule(data=st.data(), name=st.sampled_from(TAGS), crash=CRASHES)
    def tag(self, data: st.DataObject, name: str, crash: Crash) -> None:
        """Name any version."""
        number = data.draw(st.integers(1, len(self.versions)))
        machine = self.attempt(crash, "writer")
        came = outcome(lambda: machine.vault.tag(NAME, name, at=str(number)))
        if came == DONE:
            assert number in self.present
            assert self.tags.setdefault(name, number) == number
        elif came == CRASHED:
            if name in self.reader.vault.tags(NAME):
                self.tags.setdefault(name, number)
        elif came == "tag-exists":
            assert self.tags.get(name, number) != number
        else:
            assert came == "removed-version"
            assert number in self.removed | self.announced

    @rule(name=st.sampled_from(TAGS), crash=CRASHES)
    def untag(self, name: str, crash: Crash) -> None:
        """Take a name away."""
        machine = self.attempt(crash, "writer")
        came = outcome(lambda: machine.vault.untag(NAME, name))
        if came == CRASHED:
            if name not in self.reader.vault.tags(NAME):
                self.tags.pop(name, None)
        else:
            assert came == (DONE if name in self.tags else "no-tag")
            self.tags.pop(name, None)

    @rule(policy=POLICIES, crash=CRASHES)
    def collect(self, policy: Policy, crash: Crash) -> None:
        """Collect garbage."""
        going = self.going(policy)
        machine = self.attempt(crash, "writer")
        plan = self.reader.vault.gc(NAME, policy, dry_run=True)
        assert set(plan.versions) == going
        came = outcome(lambda: machine.vault.gc(NAME, policy))
        if came == CRASHED:
            there = self.there()
            assert self.present - there <= going
            self.removed |= self.present - there
            self.announced |= self.said_to_go()
        else:
            assert came == DONE
            self.removed |= going
        self.announced -= self.removed

    def going(self, policy: Policy) -> set[int]:
        """Say which versions go, in the model's own words."""
        newest = len(self.versions)
        named = {newest, *self.tags.values()}
        if policy.keep_last is None and policy.keep_days is None:
            return (self.present & self.announced) - named
        last = set(range(newest - (policy.keep_last or 0) + 1, newest + 1))
        since = self.clock.now() - dt.timedelta(days=policy.keep_days or 0)
        young = {n for n, at in enumerate(self.made_at, 1) if policy.keep_days and at >= since}
        return self.present - ((last | young) - self.announced) - named

    def there(self) -> set[int]:
        """Give the numbers of the versions whose manifests are there."""
        return {int(each.split("_")[3]) for each in audit(self.store, NAME).kept}

    def said_to_go(self) -> set[int]:
        """Give the numbers of the versions that any record of a removal names."""
        bodies = [self.store.get(info.key).body for info in self.store.list(keys.gcs(NAME))]
        line = audit(self.store, NAME).line
        return {n for n, each in enumerate(line, 1) if any(each.encode() in b for b in bodies)}

    @rule(hours=st.integers(1, 40))
    def wait(self, hours: int) -> None:
        """Let time go by."""
        self.clock.sleep(3600.0 * hours)

    @precondition(lambda self: self.versions)
    @invariant()
    def nothing_needed_is_missing(self) -> None:
        """The line has no gaps, and what must be there is."""
        found = audit(self.store, NAME)
        assert len(found.line) == len(self.versions)
        assert found.missing == frozenset()
        assert {int(each.split("_")[3]) for each in found.kept} == self.present
        named = {name: found.line[number - 1] for name, number in self.tags.items()}
        assert self.reader.vault.tags(NAME) == named

    def teardown(self) -> None:
        """Look at every version with eyes that have seen nothing; then leave nothing over."""
        try:
            if self.versions:
                self.look_at_everything()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def look_at_everything(self) -> None:
        """Fetch all that is there; hear of all others that they were removed."""
        cold = self.machine("cold", self.store)
        for number, state in enumerate(self.versions, 1):
            if number in self.removed:
                with pytest.raises(NotFound) as caught:
                    cold.fetched(NAME, str(number))
                assert caught.value.kind == "removed-version"
            else:
                assert cold.fetched(NAME, str(number)) == contents(self.states[state])
        for _ in range(2):
            self.push((self.versions[-1] + 1) % len(self.states), None)
        self.collect(Policy(), None)
        assert_clean(self.store, NAME)


def outcome(act: Callable[[], object]) -> str:
    """Do something; say whether it was done, died, or with what kind it was refused."""
    try:
        act()
    except SimulatedCrash:
        return CRASHED
    except ChromasealError as error:
        return error.kind
    return DONE


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_versions_are_what_plain_copies_would_be(
    sandbox: ProcessSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No sequence of verbs, and no crash in them, loses, mixes up or forges a version."""
    monkeypatch.setattr(chain, "CHAIN_LIMIT", 4)
    monkeypatch.setattr(chain, "OUTWEIGHED", 2.0)
    monkeypatch.setattr(history, "PAGE_VERSIONS", 3)
    # So small directories would be written anew by every commit, and fetched whole.
    monkeypatch.setattr(kept, "APART_SHARE", 2)
    monkeypatch.setattr(checkouts, "_REQUEST_BYTES", 100)
    Versions.states = made_states()
    Versions.sandbox = RememberingSandbox(sandbox)
    run_state_machine_as_test(
        Versions,
        settings=settings(
            max_examples=20,
            stateful_step_count=20,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
