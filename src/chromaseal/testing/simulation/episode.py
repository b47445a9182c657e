"""One seed -> one simulation, from an empty vault to rest, and what came of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import gc
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast
from unittest import mock

from chromaseal import pools
from chromaseal.adapters.linux.exchange import exchange
from chromaseal.adapters.linux.file_system import LinuxFileSystem
from chromaseal.adapters.parquet.codec import ParquetDeltaCodec
from chromaseal.adapters.sqlalchemy.ledger import SqlLedger
from chromaseal.adapters.sqlalchemy.sqlite import SqliteDatabase
from chromaseal.compaction import portion
from chromaseal.fleet import lease_keeper
from chromaseal.parts import Parts
from chromaseal.run.lease import Leases
from chromaseal.run.ledger import Ledger
from chromaseal.snapshot import chain, history, manifest
from chromaseal.snapshot.checkouts import Checkouts
from chromaseal.stream import reminder
from chromaseal.testing.machine import NobodyHasOpen
from chromaseal.testing.simulation import functions, invariants, repairs, replicas
from chromaseal.testing.simulation.actors import SCRIPTS, Inbox, Process
from chromaseal.testing.simulation.chance import SeededIds, chance_of
from chromaseal.testing.simulation.cloud import Cloud
from chromaseal.testing.simulation.delta_codecs import JsonCodec, RememberingCodec
from chromaseal.testing.simulation.dictionary import DictionarySandbox, Texts
from chromaseal.testing.simulation.doors import SimulatedLedger, SimulatedStore
from chromaseal.testing.simulation.ending import check_the_end
from chromaseal.testing.simulation.invariants import Broken
from chromaseal.testing.simulation.memory import MemoryStore
from chromaseal.testing.simulation.memory_ledger import MemoryLedger
from chromaseal.testing.simulation.mishaps import OF_FUNCTIONS, Dice, Mishap
from chromaseal.testing.simulation.scheduler import Actor, ActorClock, Scheduler
from chromaseal.testing.simulation.setting import setting_of
from chromaseal.testing.simulation.truth import Truth
from chromaseal.testing.simulation.turns import Hearts, MemoryLeases, SimulatedLeases
from chromaseal.testing.streamed_ledger import StreamedLedger
from chromaseal.vault import Vault

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - folders of our own are made in it
_SCRIPTS = {**SCRIPTS, **replicas.SCRIPTS, **functions.SCRIPTS, **repairs.SCRIPTS}
# Invocations of these share a machine by twos: what is left of one goes on beside the next.
_LANES = 2
_REMEMBERED = 2_000
_REMINDED_AFTER = dt.timedelta(seconds=20)
# A handful of runs are more than a function has time for.
_CHANGES_PER_S = 0.3
_REST_STEPS = 20_000
_VAULT_ID = "simulated"
_WRITER = {"chromaseal": "0", "chromadb": "0", "python": "0", "host": "simulation"}


@dataclass(frozen=True, slots=True)
class Report:
    """What came of an episode.

    Attributes:
        seed: which one.
        steps: operations of store, ledger and child.
        mishaps: how often what went wrong.
        versions: published.
        races: lost to another compactor.
        crashes: of processes.
        runs: acknowledged.
        seen: how often what happened that only some episodes have.
        digest: over every step; equal digests are equal episodes.
        broken: the invariant that did not hold, if one did not.
        trail: the last steps before that.
    """

    seed: int
    steps: int
    mishaps: Counter[Mishap]
    versions: int
    races: int
    crashes: int
    runs: int
    seen: Counter[str]
    digest: int
    broken: Broken | None
    trail: tuple[str, ...]


def simulate(seed: int, steps: int, kinds: Iterable[Mishap] = Mishap) -> Report:
    """Play an episode.

    Args:
        seed: decides everything.
        steps: after so many operations nothing fails any more, and everybody comes to rest.
        kinds: what may go wrong.
    """
    place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="chromaseal-simulation-", dir=place) as folder:
        episode = Episode(seed, Path(folder), kinds)
        with pools.in_turn(), _scaled_down(episode, Path(folder)), _no_cycles_sought():
            return episode.play(steps)


class Episode:
    """One simulation.

    Args:
        seed: decides everything.
        folder: for the machines.
        kinds: what may go wrong.
    """

    def __init__(self, seed: int, folder: Path, kinds: Iterable[Mishap] = Mishap) -> None:
        self.setting = setting_of(seed)
        self._seed = seed
        self._folder = folder
        self._store = MemoryStore()
        self._texts = Texts()
        inner = ParquetDeltaCodec() if self.setting.is_parquet else JsonCodec()
        self._codec = RememberingCodec(inner)
        self._inbox = Inbox()
        self._is_closing = False
        policy = self.setting.policy
        self.truth = Truth(
            self._store.objects,
            self._texts,
            delta_suffix=self._codec.suffix,
            keep_last=policy.keep_last or 1,
            deltas_after=policy.deltas_after,
        )
        apart = frozenset() if self.setting.is_cloud else OF_FUNCTIONS
        possible = [kind for kind in kinds if kind not in apart]
        self.dice = Dice(chance_of(seed, "mishaps"), possible)
        self.scheduler = Scheduler(
            chance_of(seed, "turns"), self.dice, dies=self._dies, died=self._died
        )
        self._cloud = Cloud(
            self.scheduler,
            chance_of(seed, "cloud"),
            self.truth.asks,
            self.truth.seen,
            is_played=self.setting.is_cloud,
        )
        self._ledger, self._leases = self._ledger_and_leases()
        self.hearts = Hearts(self.scheduler)
        for kind, count in self.setting.actors.items():
            for number in range(count):
                machine = f"machine-{len(self.scheduler.actors) % self.setting.machines}"
                if kind == "function":
                    machine = f"environment-{number // _LANES}"
                self.scheduler.actors.append(Actor(f"{kind}-{number}", machine, self._live))

    def repairs(self) -> contextlib.AbstractContextManager[None]:
        """Let repairs find something to be done, for as long as the episode is played."""
        return repairs.all_is_taken_for_broken(chance_of(self._seed, "broken"), self._texts)

    def play(self, steps: int) -> Report:
        """Play it to the end, or until an invariant does not hold."""
        try:
            self._play(steps)
        except Broken as broken:
            # What was noted before it came first.
            self.truth.broken = self.truth.broken or broken
        finally:
            self._stop()
        return Report(
            seed=self._seed,
            steps=self.scheduler.steps,
            mishaps=self.dice.fired,
            versions=sum(len(line.ids) for line in self.truth.lines.values()),
            races=self.truth.races,
            crashes=self.scheduler.crashes,
            runs=len(self.truth.acknowledged),
            seen=self.truth.seen,
            digest=self.scheduler.digest,
            broken=self.truth.broken,
            trail=tuple(self.scheduler.trail),
        )

    def process(self, name: str, machine: str, life: int) -> Process:
        """Start a process on a machine."""
        chance = chance_of(self._seed, name, life)
        skew_s = chance.gauss(0, 60 if chance.random() < 0.2 else 1)
        clock = ActorClock(self.scheduler, skew_s)
        ids = SeededIds(chance_of(self._seed, name, life, "ids"))
        store = SimulatedStore(self._store, self.scheduler, self.truth)
        codec = self._codec
        cache = self._folder / machine
        parts = Parts(
            store=store,
            ledger=SimulatedLedger(self._ledger, self.scheduler, self.truth),
            leases=SimulatedLeases(self._leases, self.scheduler, self.truth.turns),
            codec=codec,
            sandbox=DictionarySandbox(codec, self._texts, self.scheduler),
            open_files=NobodyHasOpen(),
            file_system=LinuxFileSystem(),
            checkouts=Checkouts(store, cache, _VAULT_ID, clock=clock, ids=ids),
            exchange=exchange,
            clock=clock,
            ids=ids,
            writer=_WRITER,
        )
        return Process(
            name=name,
            machine=machine,
            life=life,
            vault=Vault(parts, open_reader=_nobody, close=_nothing),
            chance=chance,
            clock=clock,
            folder=cache / "copies" / name,
            truth=self.truth,
            inbox=self._inbox,
            collections=self.setting.collections,
            pushed=self.setting.pushed,
            policy=self.setting.policy,
            goes_on=lambda: not self._is_closing,
            takes_turns=self.setting.takes_turns,
            beat=functools.partial(self.hearts.beat, name),
            cloud=self._cloud,
        )

    def _ledger_and_leases(self) -> tuple[Ledger, Leases]:
        clock = ActorClock(self.scheduler, 0.0)
        if self.setting.is_cloud:
            ledger = cast("Ledger", StreamedLedger(MemoryLedger(), self._cloud.put))
            return ledger, MemoryLeases(clock)
        if not self.setting.is_sql:
            return MemoryLedger(), MemoryLeases(clock)
        both = SqlLedger(SqliteDatabase(None, clock=clock))
        return both, both

    def _play(self, steps: int) -> None:
        while self.scheduler.steps < steps:
            self._turn()
        self._is_closing = self.dice.is_fair = True
        limit = self.scheduler.steps + _REST_STEPS
        while self._turn():
            invariants.it_comes_to_rest(self.scheduler.steps, limit)
        self.scheduler.deliver_all()
        with self._telling("end"):
            check_the_end(self.process("end", "end", 0), self._texts, self._store)
        self._raise_broken()

    @contextlib.contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        """Let an error that somebody meets, whatever it is, be looked at: nobody should."""
        try:
            yield
        except Broken:
            raise
        except Exception as error:  # noqa: BLE001 - the edge of a simulated process
            self.truth.fails(name, error)

    def _turn(self) -> bool:
        goes_on = self.scheduler.turn()
        self.truth.served.look()
        self._raise_broken()
        return goes_on

    def _raise_broken(self) -> None:
        if self.truth.broken is not None:
            raise self.truth.broken

    def _live(self, actor: Actor) -> None:
        script = _SCRIPTS[actor.name.partition("-")[0]]
        with self._telling(actor.name):
            script(self.process(actor.name, actor.machine, actor.lives))

    def _dies(self, actor: Actor) -> None:
        # A dead process tidies nothing up: while it is unwound, its files are not there.
        cache = self._folder / actor.machine
        with contextlib.suppress(FileNotFoundError):
            cache.rename(_aside(cache))

    def _died(self, actor: Actor, lost: bool) -> None:  # noqa: FBT001 - the scheduler's call
        cache = self._folder / actor.machine
        shutil.rmtree(cache, ignore_errors=True)
        if lost:
            shutil.rmtree(_aside(cache), ignore_errors=True)
        elif _aside(cache).exists():
            _aside(cache).rename(cache)

    def _stop(self) -> None:
        for actor in self.scheduler.actors:
            self.scheduler.current = actor
            actor.kill()
        self.scheduler.current = None
        self._ledger.close()


@contextlib.contextmanager
def _scaled_down(episode: Episode, folder: Path) -> Iterator[None]:
    """Let what takes a hundred versions take a handful, and keep all files in one place.

    A manifest or a row of a page is read by everybody, always to the same: once is enough.
    """
    decode = functools.lru_cache(_REMEMBERED)(manifest.decode)
    past: dict[str, manifest.PastVersion] = {}

    def past_of(row: list[Any]) -> manifest.PastVersion:
        text = repr(row)
        if text not in past:
            past[text] = manifest.past_of(row)
        return past[text]

    setting = episode.setting
    with (
        mock.patch.object(lease_keeper, "threading", episode.hearts),
        mock.patch.object(history, "PAGE_VERSIONS", setting.page_versions),
        mock.patch.object(history, "decode", decode),
        mock.patch.object(history, "past_of", past_of),
        mock.patch.object(chain, "CHAIN_LIMIT", setting.chain_limit),
        mock.patch.object(reminder, "AFTER", _REMINDED_AFTER),
        mock.patch.object(portion, "_CHANGES_PER_S", _CHANGES_PER_S),
        mock.patch.object(tempfile, "tempdir", str(folder)),
        episode.repairs(),
    ):
        yield


@contextlib.contextmanager
def _no_cycles_sought() -> Iterator[None]:
    """Let Python look for cycles of objects between episodes only.

    It takes a tenth of the time, and closes what generators hold at moments that nobody has drawn.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _aside(cache: Path) -> Path:
    return cache.with_name(f"{cache.name}-aside")


def _nobody(*_: object) -> NoReturn:
    raise AssertionError("nobody asks for this in a simulation")


def _nothing() -> None:
    pass
