"""What a worker knows of itself, whether that is well, and the same as Prometheus reads it.

Pure: a standing is never changed, each event gives another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Account:
    """One collection, or one piece of work beside them, as a worker knows it.

    Attributes:
        backlog: runs that wait, PENDING or MERGING.
        working: whether this worker is at it.
        left: whether another process was at it when this one last asked.
        versions: published by this worker.
        merged: runs in them.
        set_aside: runs that could not be merged and are FAILED.
        failures: attempts that failed.
        failures_in_a_row: of them, since the last that did not.
        succeeded_at_s: when one last succeeded, in seconds since 1970; 0 before.
    """

    backlog: int = 0
    working: bool = False
    left: bool = False
    versions: int = 0
    merged: int = 0
    set_aside: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    succeeded_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A worker, as of now.

    Attributes:
        turned_s: when its loop last came round, by a clock that is never set.
        answered_s: when ledger and store last answered, by the same; None before.
        accounts: by collection.
        chores: the same of what is done beside them, for example the inbox.
        images: put away from the inbox, by what became of them.
    """

    turned_s: float
    answered_s: float | None = None
    accounts: Mapping[str, Account] = field(default_factory=dict)
    chores: Mapping[str, Account] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)

    def with_account(self, name: str, change: Callable[[Account], Account]) -> Standing:
        """Change what is known of a collection."""
        changed = change(self.accounts.get(name, Account()))
        return replace(self, accounts={**self.accounts, name: changed})

    def with_chore(self, name: str, change: Callable[[Account], Account]) -> Standing:
        """Change what is known of work beside the collections."""
        return replace(self, chores={**self.chores, name: change(self.chores.get(name, Account()))})

    def with_image(self, status: str) -> Standing:
        """Count an image."""
        return replace(self, images={**self.images, status: self.images.get(status, 0) + 1})

    @property
    def backlog(self) -> int:
        """Count the runs that wait, in all collections."""
        return sum(account.backlog for account in self.accounts.values())


def failed(account: Account) -> Account:
    """Give an account after a failure."""
    return replace(
        account,
        working=False,
        failures=account.failures + 1,
        failures_in_a_row=account.failures_in_a_row + 1,
    )


def succeeded(account: Account, at_s: float) -> Account:
    """Give an account after a success."""
    return replace(account, working=False, left=False, failures_in_a_row=0, succeeded_at_s=at_s)


@dataclass(frozen=True, slots=True)
class Health:
    """An answer to whoever asks how a worker is.

    Attributes:
        well: yes or no.
        why: in a sentence.
    """

    well: bool
    why: str


def is_alive(standing: Standing, now_s: float, *, bound_s: float) -> Health:
    """Say whether the loop still comes round."""
    age_s = now_s - standing.turned_s
    said = f"the loop came round {age_s:.0f} s ago"
    return Health(age_s <= bound_s, said if age_s <= bound_s else f"{said}: it is stuck")


def is_ready(standing: Standing, now_s: float, *, bound_s: float) -> Health:
    """Say whether ledger and store have answered lately."""
    if standing.answered_s is None:
        return Health(well=False, why="ledger and store have not answered yet")
    age_s = now_s - standing.answered_s
    return Health(age_s <= bound_s, f"ledger and store answered {age_s:.0f} s ago")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a worker.

    Attributes:
        name: as Prometheus has it.
        kind: ``gauge`` or ``counter``.
        meaning: in a sentence.
        label: the label of each value.
        values: gives the values by label.
    """

    name: str
    kind: str
    meaning: str
    label: str
    values: Callable[[Standing], Mapping[str, float]]


def _of_accounts(value: Callable[[Account], float]) -> Callable[[Standing], Mapping[str, float]]:
    return lambda standing: {name: value(each) for name, each in standing.accounts.items()}


def _of_chores(value: Callable[[Account], float]) -> Callable[[Standing], Mapping[str, float]]:
    return lambda standing: {name: value(each) for name, each in standing.chores.items()}


_OF = "chromaseal_worker_"
METRICS: Final = (
    Metric(
        *(f"{_OF}backlog_runs", "gauge", "Runs that wait for a version", "collection"),
        _of_accounts(lambda a: a.backlog),
    ),
    Metric(
        *(f"{_OF}compacting", "gauge", "1 while this worker compacts it", "collection"),
        _of_accounts(lambda a: a.working),
    ),
    Metric(
        *(f"{_OF}left", "gauge", "1 where another process had its lease", "collection"),
        _of_accounts(lambda a: a.left),
    ),
    Metric(
        *(f"{_OF}versions_total", "counter", "Versions that it published", "collection"),
        _of_accounts(lambda a: a.versions),
    ),
    Metric(
        *(f"{_OF}merged_runs_total", "counter", "Runs in these versions", "collection"),
        _of_accounts(lambda a: a.merged),
    ),
    Metric(
        *(f"{_OF}set_aside_runs_total", "counter", "Runs that are FAILED", "collection"),
        _of_accounts(lambda a: a.set_aside),
    ),
    Metric(
        *(f"{_OF}failures_total", "counter", "Compactions that failed", "collection"),
        _of_accounts(lambda a: a.failures),
    ),
    Metric(
        *(f"{_OF}failures_in_a_row", "gauge", "The same since the last success", "collection"),
        _of_accounts(lambda a: a.failures_in_a_row),
    ),
    Metric(
        *(f"{_OF}last_success_timestamp_seconds", "gauge", "When one last succeeded; 0: never"),
        *("collection", _of_accounts(lambda a: a.succeeded_at_s)),
    ),
    Metric(
        *(f"{_OF}chore_failures_total", "counter", "Failures of inbox and sweep", "chore"),
        _of_chores(lambda a: a.failures),
    ),
    Metric(
        *(
            f"{_OF}chore_last_success_timestamp_seconds",
            "gauge",
            "When it last succeeded; 0: never",
        ),
        *("chore", _of_chores(lambda a: a.succeeded_at_s)),
    ),
    Metric(
        *(f"{_OF}images_total", "counter", "Images put away from the inbox", "status"),
        lambda standing: standing.images,
    ),
)


def exposition(standing: Standing) -> str:
    """Write a standing in Prometheus' text format, 0.0.4."""
    return "".join(line for metric in METRICS for line in _lines(metric, standing))


def _lines(metric: Metric, standing: Standing) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.meaning}.\n# TYPE {metric.name} {metric.kind}\n"
    for label, value in sorted(metric.values(standing).items()):
        escaped = label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        yield f'{metric.name}{{{metric.label}="{escaped}"}} {float(value)!r}\n'
