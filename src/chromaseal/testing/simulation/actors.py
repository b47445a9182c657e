"""Who works in a simulation: writers, compactors, readers, collectors, cancellers and others.

Each is a function that works until the simulation closes, with nothing but the product's own
verbs; what it is told goes to ``Truth``. It may die on any line and is then called again.
"""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chromaseal import keys
from chromaseal.compaction.outcome import Compaction
from chromaseal.delta.model import Changes
from chromaseal.errors import ChromasealError, Conflict, NotFound
from chromaseal.fleet.turn import Terms, compact_in_turn
from chromaseal.record import MetadataPatch, Record
from chromaseal.run.model import Run, RunPart, RunState
from chromaseal.snapshot.retention import Policy
from chromaseal.sweep.ledger import sweep_ledger
from chromaseal.testing.records import DIMENSION
from chromaseal.testing.simulation.cloud import Cloud
from chromaseal.testing.simulation.scheduler import ActorClock
from chromaseal.testing.simulation.truth import Truth
from chromaseal.vault import Vault

RECORDS = 24
TAGS = 4
# Part of the reason that a run is set aside for ever: what it would have to come before is gone.
TOO_LATE = "so that their order cannot be restored"
_TRIES = 6
_NAMED = "collections"
# Shorter than some processes stand still.
LEASE_S = 10.0
GIVEN_UP = 0.01


@dataclass(slots=True)
class Inbox:
    """Runs that are to be written; a queue that delivers some of them more than once."""

    asked: list[tuple[str, Mapping[str, Changes]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Process:
    """One life of an actor.

    Attributes:
        name: of the actor.
        machine: where it runs.
        life: which life it is.
        vault: over the simulated store, ledger and child.
        chance: for what it does.
        clock: of its machine.
        folder: on its machine, of its own.
        truth: is told what it was told.
        inbox: shared by all writers.
        collections: that runs are written to.
        pushed: collections whose versions are pushed directories.
        policy: of those who collect garbage.
        goes_on: whether the simulation does.
        takes_turns: whether compactors have leases.
        beat: renews them.
        cloud: a table's stream and queues, where functions are played.
    """

    name: str
    machine: str
    life: int
    vault: Vault
    chance: random.Random
    clock: ActorClock
    folder: Path
    truth: Truth
    inbox: Inbox
    collections: tuple[str, ...]
    pushed: tuple[str, ...]
    policy: Policy
    goes_on: Callable[[], bool]
    takes_turns: bool
    beat: Callable[[], None]
    cloud: Cloud

    def rest(self, mean_s: float) -> None:
        """Let others work for a while."""
        self.clock.sleep(self.chance.expovariate(1 / mean_s))

    def one_collection(self) -> str:
        """Choose a collection that runs are written to."""
        return self.chance.choice(self.collections)

    def any_collection(self) -> str:
        """Choose a collection."""
        return self.chance.choice((*self.collections, *self.pushed))

    @contextlib.contextmanager
    def trying(self) -> Iterator[None]:
        """Let what does not succeed be tried again later; the truth is told why."""
        try:
            yield
        except ChromasealError as error:
            self.truth.told(self.name, error)


def writer(here: Process) -> None:
    """Write runs, each again until it is acknowledged, and some of them though they were."""
    number = 0
    while here.goes_on():
        if here.inbox.asked and here.chance.random() < 0.2:
            run_id, changes = here.chance.choice(here.inbox.asked[-8:])
        else:
            number += 1
            run_id = f"{here.name}-{here.life}-{number}"
            changes = _changes(here)
            here.inbox.asked.append((run_id, changes))
        here.truth.asks(run_id, changes)
        _write(here, run_id, changes)
        here.rest(2.0)


def _write(here: Process, run_id: str, changes: Mapping[str, Changes]) -> None:
    is_stored = False
    for _ in range(_TRIES):
        with here.trying():
            named = {_NAMED: ",".join(sorted(changes))}
            here.vault.write(changes, run_id=run_id, attributes=named)
            here.truth.acknowledges(run_id)
            is_stored = True
        if is_stored:
            return
        here.rest(0.5)


def _changes(here: Process) -> dict[str, Changes]:
    """Make changes of one collection or of all, of few records, so that runs meet."""
    chance = here.chance
    names = here.collections if chance.random() < 0.5 else (here.one_collection(),)
    return {name: _changes_of_one(chance, here.cloud.naming(name)) for name in names}


def _changes_of_one(chance: random.Random, id_of: Callable[[int], str]) -> Changes:
    ids = [id_of(n) for n in chance.sample(range(RECORDS), chance.randint(1, 4))]
    upserts: list[Record] = []
    updates: dict[str, MetadataPatch] = {}
    deletes: list[str] = []
    for record_id in ids:
        way = chance.random()
        if way < 0.6 or not upserts:
            upserts.append(any_record(chance, record_id))
        elif way < 0.8:
            updates[record_id] = {chance.choice("abc"): chance.choice([None, chance.randint(0, 9)])}
        else:
            deletes.append(record_id)
    return Changes(upserts, updates, deletes)


def any_record(chance: random.Random, record_id: str) -> Record:
    """Make a record."""
    vector = np.array([chance.random() for _ in range(DIMENSION)], dtype=np.float32)
    document = chance.choice([None, "x" * chance.randint(0, 40)])
    return Record(record_id, vector, document, {chance.choice("abc"): chance.randint(0, 9)})


def compactor(here: Process) -> None:
    """Fold what waits into versions, again and again; any number of these may run."""
    while here.goes_on():
        names = here.collections if here.chance.random() < 0.5 else (here.one_collection(),)
        with here.trying():
            here.truth.races += sum(done.lost_races for done in _compact(here, names))
        here.rest(3.0)


def _compact(here: Process, names: Sequence[str]) -> Sequence[Compaction]:
    """Compact, where there are leases what nobody else is at; some turns end before they are done.

    A turn that is lost meanwhile ends at the next look, or at the pointer.
    """
    if not here.takes_turns:
        return here.vault.compact(names)

    def is_over() -> bool:
        here.beat()
        return here.chance.random() < GIVEN_UP

    terms = Terms(f"{here.name}-{here.life}", LEASE_S)
    return compact_in_turn(here.vault, names, terms, is_over=is_over).done


def reader(here: Process) -> None:
    """Open the newest version, or one that is named, and look at all of it; or read the log."""
    shutil.rmtree(here.folder, ignore_errors=True)
    number = 0
    while here.goes_on():
        number += 1
        collection = here.any_collection()
        line = here.truth.line(collection)
        named = line.ids and here.chance.random() < 0.2
        at = here.chance.choice(line.ids[-6:]) if named else ""
        at_least = 0 if named else len(line.ids)
        copy = here.folder / f"{here.life}-{number}"
        with here.trying():
            if here.chance.random() < 0.5:
                here.truth.logs(collection, list(here.vault.log(collection)), at_least)
            else:
                version = here.vault.open_copy(collection, copy, at=at)
                here.truth.read(collection, version.version_id, copy, at_least)
                shutil.rmtree(copy)
        here.rest(2.0)


def collector(here: Process) -> None:
    """Collect garbage."""
    while here.goes_on():
        with here.trying():
            here.vault.gc(here.any_collection(), here.policy)
        here.rest(10.0)


def operator(here: Process) -> None:
    """Name versions, take names away, and now and then roll back."""
    while here.goes_on():
        here.rest(8.0)
        collection = here.any_collection()
        line = here.truth.line(collection)
        if not line.ids:
            continue
        version_id = here.chance.choice(line.ids[-5:])
        name = f"tag-{here.chance.randrange(TAGS)}"
        what = here.chance.random()
        with here.trying():
            if what < 0.5:
                here.vault.tag(collection, name, at=version_id)
                here.truth.tags(collection, name, version_id)
            elif what < 0.85:
                line.tagged.pop(name, None)
                here.vault.untag(collection, name)
            else:
                here.vault.rollback(collection, version_id)


def canceller(here: Process) -> None:
    """Cancel runs of collections that have versions, and now and then put one back."""
    while here.goes_on():
        here.rest(4.0)
        asked = [run_id for run_id, names in here.inbox.asked[-6:] if _has_versions(here, names)]
        if not asked:
            continue
        run_id = here.chance.choice(asked)
        here.truth.unwanted.add(run_id)
        with here.trying():
            if here.chance.random() < 0.8:
                here.truth.cancels(run_id, here.vault.cancel(run_id).cancelled)
            else:
                here.vault.retry(run_id)


def _has_versions(here: Process, names: Mapping[str, Changes]) -> bool:
    return all(here.truth.line(name).ids for name in names)


def sweeper(here: Process) -> None:
    """Bring back what a ledger has lost, set going what was set aside, end what was cancelled."""
    while here.goes_on():
        with here.trying():
            sweep(here)
        here.rest(15.0)


def sweep(here: Process) -> None:
    """Add runs whose deltas are stored and that the ledger does not know; retry what failed.

    What was cancelled is cancelled once more, to its end. Where a run has one collection this is
    the product's own sweep. Where it may have two, the product's brings back what is there of a
    run that is half written, and its writer is refused when it comes again: so only whole runs
    are brought back here.
    """
    if len(here.collections) == 1:
        sweep_ledger(here.vault.parts)
    else:
        _bring_all_back(here.vault)
    for name in here.vault.collections():
        for run in here.vault.parts.ledger.newest(collection=name, state=RunState.FAILED):
            if TOO_LATE not in run.parts[name].error:
                here.vault.retry(run.run_id)
        for run in here.vault.parts.ledger.newest(collection=name, state=RunState.CANCELLED):
            # Who cancelled it may have died before the look at the versions.
            with contextlib.suppress(Conflict):
                here.vault.cancel(run.run_id)


def _bring_all_back(vault: Vault) -> None:
    found: dict[str, set[str]] = {}
    for name in vault.collections():
        for info in vault.parts.store.list(keys.deltas(name)):
            named = keys.parse_delta(info.key)
            if named is not None:
                found.setdefault(named[1], set()).add(name)
    for run_id, stored in found.items():
        if vault.parts.ledger.get(run_id) is None:
            _bring_back(vault, run_id, stored)


def _bring_back(vault: Vault, run_id: str, stored: set[str]) -> None:
    parts, created_at, attributes = {}, "", {}
    for name in sorted(stored):
        key = keys.delta(name, run_id, vault.parts.codec.suffix)
        try:
            body = vault.parts.store.get(key).body
        except NotFound:
            return
        delta = vault.parts.codec.decode(body)
        # A change of the table is of one collection.
        if set(delta.header.attributes.get(_NAMED, name).split(",")) != stored:
            return
        created_at, attributes = delta.header.created_at, dict(delta.header.attributes)
        parts[name] = RunPart(RunState.PENDING, key, len(body), len(delta))
    vault.parts.ledger.add(Run(run_id, created_at, parts, attributes))


SCRIPTS: Mapping[str, Callable[[Process], None]] = {
    "writer": writer,
    "compactor": compactor,
    "reader": reader,
    "collector": collector,
    "operator": operator,
    "sweeper": sweeper,
    "canceller": canceller,
}
