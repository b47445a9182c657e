"""A worker whose compactions are a test's own, on a real ledger, in one thread if need be."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

from chromaseal.clock import Clock
from chromaseal.compaction.outcome import Compaction
from chromaseal.fleet.journal import Journal
from chromaseal.fleet.turn import IsOver, Turns
from chromaseal.fleet.worker import Chore, Habits, Worker
from chromaseal.pools import InTurn
from chromaseal.run.ledger import Ledger, Listener
from chromaseal.run.model import WAITING_STATES, RunState
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

POLL_S = 30.0


class StillSandbox:
    """Runs nothing, and remembers that it was closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def start(self) -> None:
        """Begin nothing."""

    def run(self, *_: object, **__: object) -> dict[str, Any]:
        """Refuse."""
        raise AssertionError("nothing is merged here")

    def close(self) -> None:
        """Remember it."""
        self.closed.set()


@dataclass
class Scene:
    """A vault, what a worker says, and how its compactions go.

    Attributes:
        vault: in memory.
        compact: what is called for each; completes all that waits by default.
        said: names and facts of what was told.
        turns: collections and the runs that were merged, in their order.
    """

    vault: Vault
    said: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    turns: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    before: Callable[[str, IsOver], Turns | None] = lambda *_: None

    @property
    def clock(self) -> Clock:
        """Give the time."""
        return self.vault.parts.clock

    def add(self, *run_ids: str, collection: str = "notes") -> None:
        """Let runs wait."""
        for run_id in run_ids:
            self.vault.write({collection: upserts(record(run_id))}, run_id=run_id)

    def compact(self, name: str, is_over: IsOver) -> Turns:
        """Complete all that waits, as a compaction would."""
        instead = self.before(name, is_over)
        if instead is not None:
            return instead
        ledger = self.vault.parts.ledger
        ids = tuple(run.run_id for run in ledger.waiting(name))
        ledger.move(ids, name, states=WAITING_STATES, to=RunState.COMPLETED, at="now")
        self.turns.append((name, ids))
        return Turns((Compaction(name, merged=ids, contained=ids),))

    def worker(
        self,
        *,
        pool: Executor | None = None,
        collections: Sequence[str] = (),
        chores: Sequence[Chore] = (),
        behind_runs: int = 500,
        **habits: Any,  # noqa: ANN401 - those of Habits
    ) -> tuple[Worker, Journal]:
        """Give a worker that works in this thread."""
        habits = {"poll_s": POLL_S, "once": True, **habits}
        journal = Journal(self.clock, self.hear, behind_runs=behind_runs)
        worker = Worker(
            self.vault,
            self.compact,
            pool or InTurn(),
            journal,
            collections=collections,
            chores=chores,
            habits=Habits(**habits),
        )
        return worker, journal

    def hear(self, name: str, /, **facts: object) -> None:
        """Remember what is told."""
        self.said.append((name, facts))

    def told(self, name: str) -> list[dict[str, Any]]:
        """Give the facts of every event of a name."""
        return [facts for each, facts in self.said if each == name]

    def put_ledger(self, ledger: Ledger) -> None:
        """Let the vault have another ledger."""
        self.vault.parts = replace(self.vault.parts, ledger=ledger)


class DeafLedger:
    """A ledger whose listeners hear nothing; the time passes all the same."""

    def __init__(self, inner: Ledger, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self.heard: list[list[str]] = []
        self.unheard: Iterator[Callable[[], object]] = iter(())

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a ledger has
        return getattr(self._inner, name)

    @contextlib.contextmanager
    def listen(self, collections: Sequence[str]) -> Iterator[Listener]:
        """Hear nothing."""
        self.heard.append(list(collections))
        yield self

    def wait(self, timeout_s: float, *, stop: threading.Event | None = None) -> bool:
        """Let the time pass; something happens meanwhile."""
        if stop is None or not stop.is_set():
            self._clock.sleep(timeout_s)
            next(self.unheard, lambda: None)()
        return False
