"""What an episode is about: who is there, and what stands for what; drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass

from chromaseal.snapshot.retention import Policy
from chromaseal.testing.simulation.chance import chance_of

_COLLECTIONS = ("lines", "words")
# Who pushes there changes its own directory.
_PUSHED = ("notes",)
# Part of the episodes with such: runs are written to what is pushed to, as well.
_BOTH = 0.7
_CANCELLED = 0.4
# Parts of all episodes; what each has takes longer than what stands for it.
_PARQUET = 0.15
_TURNS = 0.4
_SQL = 0.03
_REPLICATED = 0.15
_FUNCTIONS = 0.1
_REPAIRED = 0.2


@dataclass(frozen=True, slots=True)
class Setting:
    """What an episode is about; drawn from its seed.

    Attributes:
        collections: their names, of those that runs are written to.
        machines: how many.
        actors: how many of each kind.
        policy: of those who collect garbage.
        page_versions: how many versions a page of the history lists.
        chain_limit: how many layers a version may have.
        is_parquet: whether deltas are written as the product writes them.
        takes_turns: whether compactors have leases.
        is_sql: whether ledger and leases are the product's, in SQLite.
        pushed: collections whose versions are pushed directories.
        is_cloud: whether a stream and queues tell functions of what is to be done.
    """

    collections: tuple[str, ...]
    machines: int
    actors: dict[str, int]
    policy: Policy
    page_versions: int
    chain_limit: int
    is_parquet: bool
    takes_turns: bool
    is_sql: bool
    pushed: tuple[str, ...]
    is_cloud: bool


def setting_of(seed: int) -> Setting:
    """Draw what an episode is about."""
    chance = chance_of(seed, "setting")
    cancellers = int(chance_of(seed, "cancellers").random() < _CANCELLED)
    functions, replicas = _functions(seed), _replicas(seed)
    is_sql = chance_of(seed, "ledger").random() < _SQL and not functions
    has_both = bool(replicas) and not functions and chance_of(seed, "both").random() < _BOTH
    return Setting(
        collections=_COLLECTIONS[: chance.randint(1, 2)] + (_PUSHED if has_both else ()),
        machines=chance.randint(1, 3),
        actors={
            "writer": chance.randint(1, 3),
            "compactor": chance.randint(1, 3),
            "reader": chance.randint(1, 2),
            "collector": chance.randint(0, 2),
            "sweeper": 1,
            "operator": chance.randint(0, 1),
            "canceller": cancellers,
            **replicas,
            **functions,
            "repairer": int(chance_of(seed, "repairers").random() < _REPAIRED),
        },
        policy=Policy(
            keep_last=chance.randint(1, 4), deltas_after=chance.choice([None, None, 1, 3])
        ),
        page_versions=chance.randint(2, 6),
        chain_limit=chance.randint(3, 6),
        is_parquet=chance.random() < _PARQUET,
        takes_turns=chance.random() < _TURNS or is_sql,
        is_sql=is_sql,
        pushed=_PUSHED if replicas else (),
        is_cloud=bool(functions),
    )


def _functions(seed: int) -> dict[str, int]:
    """Say how many functions there are, in the episodes that have such; few others compact."""
    chance = chance_of(seed, "functions")
    if chance.random() >= _FUNCTIONS:
        return {}
    workers = int(chance.random() < 1 / 4)
    lanes, tellers = chance.randint(2, 4), chance.randint(1, 2)
    producers = int(chance.random() < 1 / 2)
    beside = {"table": 1, "schedule": 1, "producer": producers}
    return {"compactor": workers, "function": lanes, "teller": tellers, **beside}


def _replicas(seed: int) -> dict[str, int]:
    """Say how many have directories of their own, in the episodes that have such."""
    chance = chance_of(seed, "replicas")
    if chance.random() >= _REPLICATED:
        return {}
    return {"pusher": chance.randint(1, 2), "puller": 1, "follower": chance.randint(1, 2)}
