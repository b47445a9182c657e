"""Many seeds, one after the other: what happened in all of them, and the first that fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from chromaseal.testing.simulation.chance import chance_of
from chromaseal.testing.simulation.episode import Report, simulate
from chromaseal.testing.simulation.mishaps import Mishap
from chromaseal.testing.simulation.truth import SEEN

# Some mistakes need a long history, others a vault that has just begun.
LENGTHS = (300, 300, 1_000, 3_000)
SEED_VARIABLE = "CHROMASEAL_SIMULATION_SEED"


@dataclass(slots=True)
class Totals:
    """What came of many episodes.

    Attributes:
        episodes: how many.
        steps: operations of store, ledger and child.
        versions: published.
        races: lost to another compactor.
        crashes: of processes.
        runs: acknowledged.
        seen: how often what happened that only some episodes have.
        mishaps: how often what went wrong.
        failed: the first episode in which an invariant did not hold.
    """

    episodes: int = 0
    steps: int = 0
    versions: int = 0
    races: int = 0
    crashes: int = 0
    runs: int = 0
    mishaps: Counter[Mishap] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    failed: Report | None = None

    def add(self, report: Report) -> None:
        """Count an episode."""
        self.episodes += 1
        self.steps += report.steps
        self.versions += report.versions
        self.races += report.races
        self.crashes += report.crashes
        self.runs += report.runs
        self.mishaps += report.mishaps
        self.seen += report.seen
        if report.broken is not None:
            self.failed = self.failed or report

    def merge(self, other: Totals) -> None:
        """Count what another process has played."""
        self.episodes += other.episodes
        self.steps += other.steps
        self.versions += other.versions
        self.races += other.races
        self.crashes += other.crashes
        self.runs += other.runs
        self.mishaps += other.mishaps
        self.seen += other.seen
        self.failed = self.failed or other.failed

    def __str__(self) -> str:
        """Write it for people."""
        counted = ", ".join(f"{kind} {self.mishaps[kind]}" for kind in Mishap)
        seen = ", ".join(f"{what} {self.seen[what]}" for what in SEEN)
        return (
            f"{self.steps} steps in {self.episodes} episodes: {self.versions} versions, "
            f"{self.runs} runs, {self.races} lost races, {self.crashes} crashes; {seen}; {counted}"
        )


def steps_of(seed: int) -> int:
    """Give how long the episode of a seed is: the seed alone says what happens."""
    return chance_of(seed, "length").choice(LENGTHS)


def play(
    seeds: Iterable[int],
    *,
    goes_on: Callable[[Totals], bool] = lambda _: True,
    steps: int = 0,
) -> Totals:
    """Play seeds until one fails.

    Args:
        seeds: in this order.
        goes_on: asked before each.
        steps: of an episode; what its seed says by default.
    """
    totals = Totals()
    for seed in seeds:
        if totals.failed is not None or not goes_on(totals):
            break
        totals.add(simulate(seed, steps or steps_of(seed)))
    return totals


def explain(report: Report) -> str:
    """Say what did not hold, what led there, and how to see it again."""
    return "\n".join(
        [
            *report.trail,
            f"seed {report.seed}, step {report.steps}: {report.broken}",
            f"again: {SEED_VARIABLE}={report.seed} make simulate",
        ]
    )
