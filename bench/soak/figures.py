"""What was noted, heard and found -> the figures of a soak."""

from __future__ import annotations

import bisect
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from bench.soak.blows import KINDS
from bench.soak.crew import Said
from bench.soak.journal import Attempted
from bench.soak.reckoning import Reckoning, Tried
from bench.soak.scene import Story
from bench.soak.writes import changes_of
from bench.stats import markdown_table

# What workers tell of themselves, by the names in ``chromaseal.telemetry.names``.
_RACE_LOST = "race lost"
_LEASE_LOST = "lease lost"
_SETTLED = "reply settled"


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took.

    Attributes:
        count: how often it was measured.
        median_s: half were faster.
        p95_s: 95 % were faster.
        longest_s: the slowest.
    """

    count: int
    median_s: float
    p95_s: float
    longest_s: float

    def __str__(self) -> str:
        return (
            f"median {self.median_s:.2f} s, 95 % {self.p95_s:.2f} s, "
            f"longest {self.longest_s:.1f} s, of {self.count}"
        )


def spread(values_s: Sequence[float]) -> Spread:
    """Give how values spread; nothing but zeros where there are none."""
    if not values_s:
        return Spread(0, 0.0, 0.0, 0.0)
    p95_s = float(np.percentile(values_s, 95))
    return Spread(len(values_s), median(values_s), p95_s, max(values_s))


@dataclass(frozen=True, slots=True)
class Figures:
    """A soak in figures.

    Attributes:
        duration_s: how long blows were dealt.
        seed: of the soak.
        runs: that were acknowledged.
        changes: upserts, updates and deletes in them.
        unanswered: writes that store or ledger did not answer, and that were repeated.
        unsure: runs in a version that no writer was told of.
        given_up: runs that were begun, never acknowledged, and are in no version.
        fired: how often each kind of blow was dealt.
        at_work: compactors that had a lease when they were hit.
        own_endings: processes that ended because nobody answered as they began.
        versions: that were published.
        leases_lost: compactors that found out that another had taken over.
        races_lost: publications that found the pointer moved; each was made again on the winner.
        settled: conditional writes that were settled by reading back.
        runs_per_s: while blows were dealt.
        changes_per_s: the same of changes.
        write: from beginning a run to its acknowledgement, deaths of its writer included.
        lag: from the acknowledgement of a run to a follower's having it, for each follower.
        records: in the end.
        verified: versions that were looked at deep.
        collected: objects that garbage collection took.
    """

    duration_s: float
    seed: int
    runs: int
    changes: int
    unanswered: int
    unsure: int
    given_up: int
    fired: Mapping[str, int]
    at_work: int
    own_endings: int
    versions: int
    leases_lost: int
    races_lost: int
    settled: int
    runs_per_s: float
    changes_per_s: float
    write: Spread
    lag: Spread
    records: int
    verified: int
    collected: int

    def plain(self) -> dict[str, Any]:
        """Give it as JSON takes it."""
        return asdict(self)


def lags_s(
    tried: Iterable[Tried], versions: Mapping[str, int], moves: Sequence[tuple[float, int]]
) -> list[float]:
    """Give how long each acknowledged run took to come to one follower.

    Args:
        tried: what was tried of the follower's collection.
        versions: the number of the version that brought each run in.
        moves: when the follower had which version, in order.
    """
    numbers = [number for _, number in moves]
    found = []
    for each in tried:
        place = bisect.bisect_left(numbers, versions.get(each.run_id, 0))
        if each.run.acknowledged_s is not None and place < len(moves):
            # A follower may have it before its writer has heard that it is stored.
            found.append(max(0.0, moves[place][0] - each.run.acknowledged_s))
    return found


def moves_of(said: Iterable[Said]) -> list[tuple[float, int]]:
    """Give when a follower had which version."""
    return [(s.at_s, s.facts["version"]) for s in said if s.facts["event"] == "moved"]


def events_in(logs: Iterable[str]) -> Counter[str]:
    """Count what processes told of themselves, by its name; torn lines are left out."""
    found: Counter[str] = Counter()
    for line in (line for log in logs for line in log.splitlines()):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found[str(event.get("event", ""))] += 1
    return found


def figures(
    seed: int,
    story: Story,
    reckoning: Reckoning,
    attempted: Mapping[int, Sequence[Attempted]],
    *,
    lags: Sequence[float],
    told: Mapping[str, int],
) -> Figures:
    """Put the figures together."""
    runs = [(writer, run) for writer, each in attempted.items() for run in each]
    done = [(writer, run) for writer, run in runs if run.acknowledged_s is not None]
    stormed = story.stormed_s
    during = [
        (writer, run)
        for writer, run in done
        if story.begun_s <= (run.acknowledged_s or 0.0) < story.begun_s + stormed
    ]
    return Figures(
        duration_s=round(stormed, 1),
        seed=seed,
        runs=len(done),
        changes=_changes(seed, done),
        unanswered=sum(run.unanswered for _, run in runs),
        unsure=reckoning.unsure,
        given_up=reckoning.given_up,
        fired={str(kind): story.fired[kind] for kind in KINDS},
        at_work=story.at_work,
        own_endings=len(story.endings),
        versions=sum(map(len, reckoning.versions.values())),
        leases_lost=told.get(_LEASE_LOST, 0),
        races_lost=told.get(_RACE_LOST, 0),
        settled=told.get(_SETTLED, 0),
        runs_per_s=round(len(during) / stormed, 2),
        changes_per_s=round(_changes(seed, during) / stormed, 1),
        write=spread([(run.acknowledged_s or 0.0) - run.begun_s for _, run in done]),
        lag=spread(lags),
        records=sum(reckoning.records.values()),
        verified=reckoning.verified,
        collected=reckoning.collected,
    )


def _changes(seed: int, runs: Iterable[tuple[int, Attempted]]) -> int:
    return sum(
        len(each.upserts) + len(each.updates) + len(each.deletes)
        for writer, run in runs
        for each in changes_of(seed, writer, run.number).values()
    )


def table(found: Figures) -> str:
    """Write the figures as a table in Markdown."""
    rows = [
        ["blows were dealt for", f"{found.duration_s:.0f} s"],
        *([kind, f"{times}"] for kind, times in found.fired.items()),
        ["compactors that had a lease when they were hit", f"{found.at_work}"],
        ["processes that ended because nobody answered as they began", f"{found.own_endings}"],
        ["runs acknowledged", f"{found.runs:,}"],
        ["changes in them", f"{found.changes:,}"],
        ["writes without an answer, repeated", f"{found.unanswered}"],
        ["runs merged that no writer was told of", f"{found.unsure}"],
        ["runs begun and never stored", f"{found.given_up}"],
        ["runs a second", f"{found.runs_per_s:.1f}"],
        ["changes a second", f"{found.changes_per_s:.0f}"],
        ["versions", f"{found.versions}"],
        ["conflicts: leases lost to another", f"{found.leases_lost}"],
        ["conflicts: races lost at the pointer, each rebased on the winner", f"{found.races_lost}"],
        ["conditional writes settled by reading back", f"{found.settled}"],
        ["write, from its beginning to its acknowledgement", str(found.write)],
        ["lag, from there to a follower's having it", str(found.lag)],
        ["records in the end, compared one by one", f"{found.records:,}"],
        ["versions verified deep", f"{found.verified}"],
        ["objects that garbage collection took", f"{found.collected}"],
    ]
    return markdown_table(["what", "figure"], rows)
