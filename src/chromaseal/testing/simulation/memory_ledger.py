"""Runs in a dictionary: the ledger of a simulation, which asks it thousands of times a second.

The real ledger takes ten times as long for a question, and is SQL for all but the waiting of
threads, which the simulation has none of. Both keep ``LedgerContract``.
"""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from chromaseal.errors import Conflict
from chromaseal.record import clean_text
from chromaseal.run.model import WAITING_STATES, Run, RunState, moved

_LOOK_S = 0.1


class MemoryListener:
    """Hears of a ledger's announcements; one lock for all of it.

    Args:
        collections: of which it hears.
        changed: told of every announcement.
    """

    def __init__(self, collections: Collection[str], changed: threading.Condition) -> None:
        self._collections = frozenset(collections)
        self._changed = changed
        self._is_told = False

    def tell(self, collections: Iterable[str]) -> None:
        """Take note that runs of collections wait."""
        self._is_told = self._is_told or not self._collections.isdisjoint(collections)

    def wait(self, timeout_s: float, *, stop: threading.Event | None = None) -> bool:
        """Wait until runs of the collections were added or went back to PENDING."""
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while not self._is_told:
                left_s = end_s - time.monotonic()
                if left_s <= 0 or (stop is not None and stop.is_set()):
                    break
                self._changed.wait(min(left_s, _LOOK_S))
            told, self._is_told = self._is_told, False
        return told


class MemoryLedger:
    """Runs of one process."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._by_age: list[tuple[str, str]] = []
        self._vault_id = ""
        self._listeners: list[MemoryListener] = []
        self._changed = threading.Condition()

    @property
    def url(self) -> str:
        """Say where this is."""
        return "memory://simulation"

    def bind(self, vault_id: str) -> None:
        """Tie the ledger to a vault, for ever; the first vault that comes has it."""
        self._vault_id = self._vault_id or vault_id
        if self._vault_id != vault_id:
            raise Conflict(f"this keeps the runs of vault {self._vault_id}", kind="other-vault")

    def bound_to(self) -> str:
        """Give the id of the vault that the ledger is tied to; empty for none."""
        return self._vault_id

    def add(self, run: Run) -> bool:
        """Keep a new run; one of that id that is there stays as it is."""
        with self._changed:
            if run.run_id in self._runs:
                return False
            self._runs[run.run_id] = run
            insort(self._by_age, (run.created_at, run.run_id))
            self._announce(run.parts)
        return True

    def get(self, run_id: str) -> Run | None:
        """Give one run."""
        return self._runs.get(run_id)

    def with_prefix(self, prefix: str, *, limit: int = 2) -> list[Run]:
        """Give runs whose id starts with a text."""
        found = sorted(run_id for run_id in self._runs if run_id.startswith(prefix))
        return [self._runs[run_id] for run_id in found[:limit]]

    def newest(
        self, *, collection: str = "", state: RunState | None = None, limit: int = 100
    ) -> list[Run]:
        """Give the newest runs first."""
        found: list[Run] = []
        for _, run_id in reversed(self._by_age):
            run = self._runs[run_id]
            parts = [run.parts.get(collection)] if collection else list(run.parts.values())
            if any(part is not None and state in {None, part.state} for part in parts):
                found.append(run)
            if len(found) == limit:
                break
        return found

    def find(self, attribute: str, value: str) -> list[Run]:
        """Give the runs that were added with an attribute of that value, newest first."""
        runs = (self._runs[run_id] for _, run_id in reversed(self._by_age))
        return [run for run in runs if run.attributes.get(attribute) == value]

    def waiting(self, collection: str, *, limit: int | None = None) -> list[Run]:
        """Give the runs whose part of a collection is PENDING or MERGING, oldest first."""
        runs = (self._runs[run_id] for _, run_id in self._by_age)
        found = [
            run
            for run in runs
            if collection in run.parts and run.parts[collection].state in WAITING_STATES
        ]
        return found[:limit]

    def counts(self, collection: str) -> Mapping[RunState, int]:
        """Count the parts of a collection in each state."""
        states = [
            run.parts[collection].state for run in self._runs.values() if collection in run.parts
        ]
        return {state: states.count(state) for state in RunState}

    @contextmanager
    def listen(self, collections: Collection[str]) -> Iterator[MemoryListener]:
        """Hear of runs that are added to collections, or go back to PENDING, from now on."""
        listener = MemoryListener(collections, self._changed)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    def move(
        self,
        run_ids: Iterable[str],
        collection: str,
        *,
        states: Iterable[RunState],
        to: RunState,
        at: str,
        version_id: str = "",
        error: str = "",
    ) -> int:
        """Move parts of runs to another state, those only that are in one of ``states``."""
        from_states, count = frozenset(states), 0
        with self._changed:
            for run_id in dict.fromkeys(run_ids):
                run = self._runs.get(run_id)
                part = run.parts.get(collection) if run is not None else None
                if run is None or part is None or part.state not in from_states:
                    continue
                why = clean_text(error)
                now = moved(part, to=to, at=at, version_id=version_id, error=why)
                self._runs[run_id] = replace(run, parts={**run.parts, collection: now})
                count += 1
            if count and to is RunState.PENDING:
                self._announce([collection])
        return count

    def close(self) -> None:
        """Hold nothing."""

    def _announce(self, collections: Iterable[str]) -> None:
        names = list(collections)
        for listener in self._listeners:
            listener.tell(names)
        self._changed.notify_all()
