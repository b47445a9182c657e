"""Servers and a crew -> an hour's mishaps in minutes, then peace, and everybody gone.

The blows come from ``blows``; here they are dealt. What must hold in the end is ``reckoning``'s.
"""

from __future__ import annotations

import signal
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.soak.blows import Blow, Deed, Kind, Role, blows, target
from bench.soak.crew import Ending, Member
from bench.soak.journal import Attempted, read_journal
from bench.soak.plan import PREFIX, Place, Plan, collection_of, crew, rival
from bench.soak.writes import COLLECTIONS, run_id
from chromaseal.clock import Clock, SystemClock
from chromaseal.composition.engine import open_vault
from chromaseal.errors import Unavailable
from chromaseal.replication.follow import current
from chromaseal.run.model import WAITING_STATES, RunState
from chromaseal.settings import Settings
from chromaseal.snapshot.history import pointer
from chromaseal.testing.postgres import restartable_postgres
from chromaseal.testing.programs import Restartable
from chromaseal.testing.servers import restartable_seaweedfs
from chromaseal.vault import Vault

_TICK_S = 0.05
# Two processors, twenty processes, and the last child may have been killed a moment ago.
_PATIENCE_S = 180.0
_ENDINGS = {
    Role.STORE: (signal.SIGTERM, signal.SIGKILL),
    Role.LEDGER: (signal.SIGINT, signal.SIGQUIT),
}
_TOLD_EVERY_S = 15.0
_AWAITED_S = 1.0
Say = Callable[[str], None]


@dataclass(slots=True)
class Story:
    """What happened.

    Attributes:
        fired: how often each kind of blow was dealt.
        at_work: how many compactors had a lease when they were hit.
        endings: processes that ended by themselves.
        problems: what should not be.
        stormed_s: how long blows were dealt.
        begun_s: when they began.
    """

    fired: Counter[Kind] = field(default_factory=Counter)
    at_work: int = 0
    endings: list[Ending] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    begun_s: float = 0.0
    stormed_s: float = 0.0


class Scene:
    """A soak under way; ``opened`` makes one.

    Args:
        plan: how large.
        place: where.
        vault: this process's own.
        servers: store and ledger.
        say: told how it goes.
        clock: time.
    """

    def __init__(
        self,
        plan: Plan,
        place: Place,
        vault: Vault,
        servers: dict[Role, Restartable],
        *,
        say: Say,
        clock: Clock,
    ) -> None:
        self.plan = plan
        self.place = place
        self.vault = vault
        self.story = Story()
        self.members = crew(plan, place, clock)
        self.rivals: list[Member] = []
        self._servers = servers
        self._away: set[Role] = set()
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._say = say
        self._clock = clock

    def run(self) -> None:
        """Begin everybody, deal blows for as long as planned, then let all come to rest."""
        for member in self.members:
            member.start()
        self._say("waiting until everybody works ...")
        self._wait("every follower has a version", self._all_follow)
        self._storm()
        self._say("peace; everybody goes on ...")
        self._make_peace()

    def close(self) -> None:
        """End whatever is left."""
        for member in (*self.members, *self.rivals):
            member.close()

    def of(self, role: Role) -> list[Member]:
        """Give the members of a role."""
        return [member for member in self.members if member.role is role]

    def attempted(self) -> dict[int, list[Attempted]]:
        """Give what each writer has tried, by its number."""
        return {n: read_journal(self.place.journal(n)) for n in range(self.plan.writers)}

    def _storm(self) -> None:
        begun_s = self.story.begun_s = self._clock.monotonic_s()
        told_s, hit_s = begun_s, begun_s
        plan = self.plan
        coming = blows(plan.seed, every_s=plan.blow_every_s, lease_s=plan.lease_s)
        blow = next(coming)
        while (now_s := self._clock.monotonic_s()) < begun_s + plan.duration_s:
            self._attend()
            if now_s >= hit_s + blow.after_s:
                self._deal(blow)
                hit_s, blow = self._clock.monotonic_s(), next(coming)
            if now_s >= told_s + _TOLD_EVERY_S:
                told_s = now_s
                self._tell(now_s - begun_s)
            self._clock.sleep(_TICK_S)
        self.story.stormed_s = self._clock.monotonic_s() - begun_s

    def _attend(self) -> None:
        """Do what has come due, and begin again whoever ended by itself."""
        now_s = self._clock.monotonic_s()
        ready = [each for each in self._due if each[0] <= now_s]
        self._due = [each for each in self._due if each[0] > now_s]
        for _, do in ready:
            do()
        for member in self.members:
            ending = member.ended()
            if ending is not None:
                self.story.endings.append(ending)
                self._later(1.0, member.start)
        for one in self.rivals:
            ending = one.ended()
            if ending is not None and ending.exit_code:
                self.story.endings.append(ending)

    def _later(self, after_s: float, do: Callable[[], None]) -> None:
        self._due.append((self._clock.monotonic_s() + after_s, do))

    def _deal(self, blow: Blow) -> None:
        deed, role = blow.kind.deed, blow.kind.role
        if deed is Deed.RESTART:
            if role in self._away:
                return
            self._end_server(role, blow)
        elif deed is Deed.RIVAL:
            one = rival(self.place, len(self.rivals), self._clock)
            self.rivals.append(one)
            one.start()
        elif not self._hit(blow):
            return
        self.story.fired[blow.kind] += 1

    def _hit(self, blow: Blow) -> bool:
        standing = {m.name: m for m in self.of(blow.kind.role) if m.stands}
        # Of a follower nobody can tell.
        aimed = blow.aimed and blow.kind.role is not Role.FOLLOWER
        busy = self._awaited(blow.kind.role, standing.keys()) if aimed else set()
        name = target(blow, list(standing), busy)
        if name is None:
            return False
        if blow.kind.role is Role.COMPACTOR:
            self.story.at_work += name in busy
        member = standing[name]
        if blow.kind.deed is Deed.KILL:
            member.kill()
            self._later(blow.lasts_s, member.start)
        else:
            member.stop()
            self._later(blow.lasts_s, member.resume)
        return True

    def _awaited(self, role: Role, standing: AbstractSet[str]) -> set[str]:
        """Give those who stand and are at work, waiting a moment until somebody is."""
        end_s = self._clock.monotonic_s() + _AWAITED_S
        while not (busy := self._busy(role) & standing) and self._clock.monotonic_s() < end_s:
            self._clock.sleep(_TICK_S)
        return busy

    def _busy(self, role: Role) -> set[str]:
        """Give those of a role that are at work: they have a lease, or wait for an answer."""
        if role is Role.WRITER:
            last = ((number, runs[-1:]) for number, runs in self.attempted().items())
            open_runs = ((n, run) for n, runs in last for run in runs if not run.acknowledged_s)
            return {f"writer-{number}" for number, _ in open_runs}
        try:
            held = [self.vault.parts.leases.holder(name) for name in COLLECTIONS]
        except Unavailable:
            return set()
        owners = {lease.owner for lease in held if lease is not None}
        return {m.name for m in self.of(Role.COMPACTOR) if _owner(m) in owners}

    def _end_server(self, role: Role, blow: Blow) -> None:
        server, (clean, crash) = self._servers[role], _ENDINGS[role]
        server.end(clean if blow.clean else crash)
        self._away.add(role)

        def start() -> None:
            server.start_again()
            self._away.discard(role)

        self._later(blow.lasts_s, start)

    def _tell(self, after_s: float) -> None:
        runs = sum(r.acknowledged_s is not None for w in self.attempted().values() for r in w)
        heard = [s for m in self.of(Role.COMPACTOR) for s in m.said]
        versions = sum(s.facts["event"] == "compaction" and bool(s.facts["version"]) for s in heard)
        fired = self.story.fired.total()
        self._say(f"{after_s:4.0f} s: {runs} runs, {versions} versions, {fired} blows")

    def _make_peace(self) -> None:
        while self._due:
            self._attend()
            self._clock.sleep(_TICK_S)
        self._wait("rivals have ended", lambda: not any(m.is_there for m in self.rivals))
        before = self._acknowledged()
        self._wait(
            "every writer is acknowledged again",
            lambda: all(now > then for now, then in zip(self._acknowledged(), before, strict=True)),
        )
        self._end(Role.WRITER)
        self._wait("every compactor is ready", self._all_ready)
        self._wait("nothing waits", self._nothing_waits)
        self._note_unknown()
        # Of a run that its writer gave up there is a delta at most.
        self.vault.rebuild_ledger()
        self._wait("nothing waits after a sweep", self._nothing_waits)
        self._wait("every follower is at the newest version", self._all_follow_newest)
        self._end(Role.COMPACTOR)
        self._end(Role.FOLLOWER)
        for member in (*self.members, *self.rivals):
            if member.left():
                self.story.problems.append(f"processes of a dead {member.name} live on")

    def _wait(self, what: str, so: Callable[[], bool]) -> None:
        end_s = self._clock.monotonic_s() + _PATIENCE_S
        while not so():
            if self._clock.monotonic_s() > end_s:
                self.story.problems.append(f"not so after {_PATIENCE_S:.0f} s: {what}")
                return
            self._attend()
            self._clock.sleep(_TICK_S * 4)

    def _acknowledged(self) -> list[int]:
        return [
            sum(run.acknowledged_s is not None for run in runs)
            for runs in self.attempted().values()
        ]

    def _all_follow(self) -> bool:
        folders = (self.place.followed(number) for number in range(self.plan.followers))
        return all(current(folder) is not None for folder in folders)

    def _all_follow_newest(self) -> bool:
        return all(
            current(self.place.followed(n)) == pointer(self.vault.parts.store, collection_of(n))[0]
            for n in range(self.plan.followers)
        )

    def _all_ready(self) -> bool:
        return all(_is_ready(member) for member in self.of(Role.COMPACTOR))

    def _nothing_waits(self) -> bool:
        counts = [self.vault.parts.ledger.counts(name) for name in COLLECTIONS]
        return not any(each.get(state, 0) for each in counts for state in WAITING_STATES)

    def _note_unknown(self) -> None:
        """Before a sweep could bring them back: what was acknowledged is in the ledger, done."""
        known = self.vault.parts.ledger.newest(limit=1_000_000)
        done = {
            run.run_id
            for run in known
            if all(part.state is RunState.COMPLETED for part in run.parts.values())
        }
        self.story.problems += [
            f"{run_id} was acknowledged, and the ledger does not say that it is done"
            for run_id in acknowledged_ids(self.attempted())
            if run_id not in done
        ]

    def _end(self, role: Role) -> None:
        for member in self.of(role):
            member.ask_to_end()
        for member in self.of(role):
            ending = member.end()
            if ending.exit_code:
                self.story.problems.append(
                    f"{ending.name} ended with {ending.exit_code}: {ending.words}"
                )


def acknowledged_ids(attempted: dict[int, list[Attempted]]) -> Iterable[str]:
    """Give the ids of the runs that were acknowledged."""
    return [
        run_id(writer, run.number)
        for writer, runs in attempted.items()
        for run in runs
        if run.acknowledged_s is not None
    ]


def _owner(member: Member) -> str:
    started = [said.facts for said in member.said if said.facts["event"] == "started"]
    return str(started[-1]["owner"]) if started and started[-1]["pid"] == member.pid else ""


def _is_ready(member: Member) -> bool:
    ports = [said.facts["port"] for said in member.said if said.facts["event"] == "listening"]
    if not ports:
        return False
    try:
        url = f"http://127.0.0.1:{ports[-1]}/readyz"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def opened(plan: Plan, folder: Path, *, say: Say, clock: Clock | None = None) -> Iterator[Scene]:
    """Start store and ledger, make the vault, and give the scene; all ends with the block.

    Args:
        plan: how large.
        folder: an empty one.
        say: told how it goes.
        clock: the system's by default.
    """
    clock = clock or SystemClock()
    with ExitStack() as held:
        server, store = held.enter_context(restartable_seaweedfs(folder / "store", clock=clock))
        database, ledger = held.enter_context(restartable_postgres(clock=clock))
        place = Place(folder, server, database.make_database())
        settings = Settings(server.url(PREFIX), place.ledger, folder / "cache-scene")
        vault = held.enter_context(open_vault(settings, store=server.store(PREFIX), clock=clock))
        servers = {Role.STORE: store, Role.LEDGER: ledger}
        scene = Scene(plan, place, vault, servers, say=say, clock=clock)
        held.callback(scene.close)
        yield scene
