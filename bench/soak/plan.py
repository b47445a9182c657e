"""How large a soak is, and where everything of it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.soak.blows import Role
from bench.soak.crew import Member
from bench.soak.writes import COLLECTIONS
from chromaseal.clock import Clock
from chromaseal.testing.command_line import environment
from chromaseal.testing.servers import S3Server

PREFIX = "soak"
_COMMAND = "chromaseal.entrypoints.cli"
_WRITER = "bench.soak.writer"
_ROOT = Path(__file__).parents[2]
_LOOK_S = 0.5
_POLL_S = 2.0
_GRACE_S = 20.0
_SWEEP_S = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a soak is.

    Attributes:
        duration_s: how long somebody is hit every few seconds.
        seed: decides what is written, and who is hit when.
        writers: processes that ingest.
        compactors: ``chromaseal worker``.
        followers: ``chromaseal follow``, one collection each.
        lease_s: of the compactors.
        blow_every_s: from one blow to the next.
        write_every_s: from one run of a writer to the next.
    """

    duration_s: float
    seed: int = 0
    writers: int = 8
    compactors: int = 4
    followers: int = 3
    lease_s: float = 3.0
    blow_every_s: float = 5.0
    write_every_s: float = 1.5


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of a soak is.

    Attributes:
        folder: of all that the members have on disk.
        server: the store.
        ledger: URL.
    """

    folder: Path
    server: S3Server
    ledger: str

    @property
    def options(self) -> tuple[str, ...]:
        """Give the options that name vault and ledger."""
        return ("--vault", self.server.url(PREFIX), "--ledger", self.ledger)

    def environment(self, name: str) -> Mapping[str, str]:
        """Give a member's variables: a cache of its own, as if it were a machine of its own."""
        usual = environment(self.folder / f"cache-{name}")
        path = os.pathsep.join((str(_ROOT), *filter(None, [usual.get("PYTHONPATH")])))
        log = {"CHROMASEAL_LOG": "json", "CHROMASEAL_LOG_LEVEL": "info", "PYTHONPATH": path}
        return {**usual, **self.server.environment(), **log}

    def journal(self, writer: int) -> Path:
        """Give where a writer notes what it does."""
        return self.folder / f"writer-{writer}.journal"

    def followed(self, follower: int) -> Path:
        """Give a follower's folder."""
        return self.folder / f"followed-{follower}"

    def member(self, name: str, role: Role, command: list[str], clock: Clock) -> Member:
        """Give a process that is to be begun."""
        environment = self.environment(name)
        return Member(name, role, command, folder=self.folder, environment=environment, clock=clock)


def collection_of(follower: int) -> str:
    """Give what a follower follows."""
    return COLLECTIONS[follower % len(COLLECTIONS)]


def crew(plan: Plan, place: Place, clock: Clock) -> list[Member]:
    """Give everybody who works, not begun yet."""
    worker = [
        *(
            _COMMAND,
            "worker",
            *place.options,
            "--json",
            "--port",
            "0",
            "--lease-s",
            str(plan.lease_s),
        ),
        *("--poll-s", str(_POLL_S), "--grace-s", str(_GRACE_S), "--sweep-s", str(_SWEEP_S)),
    ]
    return [
        *(
            place.member(f"writer-{n}", Role.WRITER, _writer(plan, place, n), clock)
            for n in range(plan.writers)
        ),
        *(
            place.member(f"compactor-{n}", Role.COMPACTOR, worker, clock)
            for n in range(plan.compactors)
        ),
        *(
            place.member(f"follower-{n}", Role.FOLLOWER, _follower(place, n), clock)
            for n in range(plan.followers)
        ),
    ]


def rival(place: Place, number: int, clock: Clock) -> Member:
    """Give a compaction that asks for no lease, not begun yet."""
    command = [_COMMAND, "compact", "--no-lease", *place.options, "--json"]
    return place.member(f"rival-{number}", Role.COMPACTOR, command, clock)


def _writer(plan: Plan, place: Place, number: int) -> list[str]:
    return [
        *(_WRITER, *place.options),
        *("--journal", str(place.journal(number)), "--seed", str(plan.seed)),
        *("--number", str(number), "--every-s", str(plan.write_every_s)),
    ]


def _follower(place: Place, number: int) -> list[str]:
    names = (collection_of(number), str(place.followed(number)))
    return [_COMMAND, "follow", *names, "--interval", str(_LOOK_S), *place.options, "--json"]
