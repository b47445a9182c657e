"""The worker: runs that wait -> versions, for as long as nobody stops it.

It begins to listen, then looks at what waits, so that nothing goes unheard in between; takes the
lease of each collection with runs, or leaves it to its holder; and looks at everything now and then
even if nothing was announced. A collection that fails rests, longer each time, and stops no other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from typing import Any

from chromaseal.errors import Conflict, Interrupted, Unavailable
from chromaseal.fleet.journal import Journal
from chromaseal.fleet.rests import Rests
from chromaseal.fleet.turn import IsOver, Turns, Work, holder_of
from chromaseal.ids import spread_s
from chromaseal.run.ledger import Listener
from chromaseal.run.model import RunState
from chromaseal.vault import Vault

# Runs that are announced together come into one version together: as long as another one comes
# within a moment, up to so many moments.
_MOMENT_S = 0.02
_MOST_MOMENTS = 5
_PAUSE_S = 0.2
# A killed child is heard of at once, and a store that hangs has limits of its own.
_GIVEN_BACK_S = 30.0
_LOOK = "look"

Compact = Callable[[str, IsOver], Turns]


@dataclass(frozen=True, slots=True)
class Chore:
    """Work beside the collections, such as taking images from an inbox, or a sweep.

    Attributes:
        name: in metrics and messages.
        work: does some of it, and ends early when what it is given says that it is over; gives
            the seconds until it has more to do, None if it knows of nothing more.
        every_s: how long it rests when it knows of nothing more.
    """

    name: str
    work: Work
    every_s: float


@dataclass(frozen=True, slots=True)
class Habits:
    """How a worker works.

    Attributes:
        poll_s: how long it waits without an announcement before it looks, give or take a half.
        grace_s: how long what is under way may go on once it was stopped.
        once: end when nothing waits; what has failed is not tried again.
        at_once: collections compacted side by side.
    """

    poll_s: float = 30.0
    grace_s: float = 60.0
    once: bool = False
    at_once: int = 2


class Worker:
    """One worker; ``run`` works until ``stop``, after which its sandbox may be closed.

    Args:
        vault: whose runs.
        compact: compacts one collection, if its lease can be had.
        pool: where the work is done; one place for each of ``at_once`` and of the chores.
        journal: where everything is written down.
        collections: which ones; all that there are, also later, by default.
        chores: what is done beside them.
        habits: how.
    """

    def __init__(
        self,
        vault: Vault,
        compact: Compact,
        pool: Executor,
        journal: Journal,
        *,
        collections: Sequence[str] = (),
        chores: Sequence[Chore] = (),
        habits: Habits | None = None,
    ) -> None:
        self._vault = vault
        self._compact = compact
        self._pool = pool
        self._journal = journal
        self._named = list(collections)
        self._chores = {chore.name: chore for chore in chores}
        self._habits = habits or Habits()
        self._clock = vault.parts.clock
        self._ids = vault.parts.ids
        self._rests = Rests(self._ids)
        self._at_work: dict[str, Future[Turns]] = {}
        self._chores_at_work: dict[str, Future[float | None]] = {}
        self._idle_chores: set[str] = set()
        # Whether a chore may have begun a collection.
        self._may_have_begun = False
        self._stopped = threading.Event()
        self._over = threading.Event()
        # A new one for each turn. The loop's thread only looks at it, so a signal's handler may
        # set it at any moment.
        self._woken = threading.Event()
        self.failures: dict[str, BaseException] = {}

    def stop(self) -> None:
        """End soon; a signal's handler may call it."""
        self._stopped.set()
        self._woken.set()

    def run(self) -> None:
        """Work until it is stopped, or, ``once``, until nothing waits.

        What is under way then has its grace, and is given back if that was not enough.
        """
        try:
            while not self._stopped.is_set():
                try:
                    if self._work_on(self._names()):
                        return
                    self._rests.succeeded(_LOOK)
                except Unavailable as error:
                    if self._habits.once:
                        raise
                    self._pause(self._failed(_LOOK, error))
        finally:
            self._wind_up()

    def _names(self) -> list[str]:
        found = self._vault.collections()
        return self._named or found

    def _work_on(self, names: list[str]) -> bool:
        """Work until it is stopped, or there are other collections to listen to.

        Returns:
            Whether nothing waits, where that is the end.
        """
        # Listening begins before looking: what comes after the look is heard.
        with self._vault.parts.ledger.listen(names) as listener:
            listed_at_s, poll_s = self._clock.monotonic_s(), self._poll_s()
            while True:
                self._woken = threading.Event()
                self._turn()
                if self._stopped.is_set():
                    return False
                waiting = self._look(names)
                self._begin(waiting)
                if self._habits.once and self._is_idle(waiting):
                    # Somebody may have begun one meanwhile.
                    return self._names() == names
                if listener.wait(self._nap_s(waiting), stop=self._woken):
                    self._gather(listener)
                is_due = self._clock.monotonic_s() - listed_at_s >= poll_s
                if is_due or self._may_have_begun:
                    self._may_have_begun = False
                    listed_at_s, poll_s = self._clock.monotonic_s(), self._poll_s()
                    if self._names() != names:
                        return False

    def _gather(self, listener: Listener) -> None:
        for _ in range(_MOST_MOMENTS):
            if not listener.wait(_MOMENT_S, stop=self._woken):
                return

    def _poll_s(self) -> float:
        return spread_s(self._habits.poll_s, self._ids)

    def _nap_s(self, waiting: Sequence[str]) -> float:
        resting = [*waiting, *self._chores.keys() - self._chores_at_work.keys()]
        next_s = self._rests.next_s(resting, self._clock.monotonic_s())
        poll_s = self._poll_s()
        return poll_s if next_s is None else min(poll_s, next_s)

    def _look(self, names: list[str]) -> list[str]:
        """Count what waits; give the collections that have any, the longest backlog first."""
        counts = {name: self._vault.parts.ledger.counts(name) for name in names}
        backlog = {n: c[RunState.PENDING] + c[RunState.MERGING] for n, c in counts.items()}
        self._journal.looked(backlog)
        return sorted((n for n, runs in backlog.items() if runs), key=lambda n: -backlog[n])

    def _is_idle(self, waiting: Sequence[str]) -> bool:
        at_work = self._at_work or self._chores_at_work
        chores = self._chores.keys() - self._idle_chores - self.failures.keys()
        return not at_work and not chores and not set(waiting) - self.failures.keys()

    def _is_due(self, name: str) -> bool:
        gave_up = self._habits.once and name in self.failures
        return not gave_up and not self._rests.rests(name, self._clock.monotonic_s())

    def _begin(self, waiting: Sequence[str]) -> None:
        for name in waiting:
            if len(self._at_work) >= self._habits.at_once:
                break
            if name not in self._at_work and self._is_due(name):
                self._journal.begun(name)
                job = self._pool.submit(self._compact, name, self._over.is_set)
                self._at_work[name] = job
                job.add_done_callback(self._wake)
        for name, chore in self._chores.items():
            if name not in self._chores_at_work and self._is_due(name):
                self._idle_chores.discard(name)
                doing = self._pool.submit(chore.work, self._stopped.is_set)
                self._chores_at_work[name] = doing
                doing.add_done_callback(self._wake)

    def _wake(self, _: object) -> None:
        self._woken.set()

    def _turn(self) -> None:
        """Write down that the loop has come round, and what has been done since."""
        self._journal.turned()
        for name, job in [(n, j) for n, j in self._at_work.items() if j.done()]:
            del self._at_work[name]
            self._settle(name, job)
        for name, doing in [(n, d) for n, d in self._chores_at_work.items() if d.done()]:
            del self._chores_at_work[name]
            self._settle_chore(name, doing)

    def _settle(self, name: str, job: Future[Turns]) -> None:
        error = job.exception()
        if error is None:
            for lease in job.result().left.values():
                left_s = lease.expires_in_s if lease else 0.0
                self._leave(name, holder_of(name, lease), left_s)
            for done in job.result().done:
                self._rests.succeeded(name)
                self.failures.pop(name, None)
                self._journal.compacted(name, done)
        elif isinstance(error, Interrupted) or self._over.is_set():
            self._journal.given_back(name, str(error))
        elif isinstance(error, Conflict) and error.kind == "lease-lost":
            self._leave(name, error.message, self._habits.poll_s)
        else:
            self._failed(name, error)

    def _leave(self, name: str, why: str, left_s: float) -> None:
        # A moment at least, or a holder that is about to end would be asked without end.
        rest_s = max(_PAUSE_S, min(left_s, self._habits.poll_s))
        self._rests.rest(name, self._clock.monotonic_s(), rest_s)
        self._journal.left(name, why)

    def _settle_chore(self, name: str, doing: Future[float | None]) -> None:
        error = doing.exception()
        if error is not None:
            if not self._stopped.is_set():
                self._failed(name, error)
            return
        self._rests.succeeded(name)
        self.failures.pop(name, None)
        self._journal.chore_done(name)
        more_s = doing.result()
        self._may_have_begun |= more_s is not None
        if more_s is None:
            self._idle_chores.add(name)
            more_s = spread_s(self._chores[name].every_s, self._ids)
        self._rests.rest(name, self._clock.monotonic_s(), more_s)

    def _failed(self, name: str, error: BaseException) -> float:
        self.failures[name] = error
        waits_s = self._rests.failed(name, self._clock.monotonic_s())
        is_chore = name in self._chores or name == _LOOK
        self._journal.failed(name, error, waits_s=waits_s, is_chore=is_chore)
        return waits_s

    def _pause(self, duration_s: float) -> None:
        end_s = self._clock.monotonic_s() + duration_s
        while not self._stopped.is_set() and (left_s := end_s - self._clock.monotonic_s()) > 0:
            self._turn()
            self._clock.sleep(min(left_s, _PAUSE_S))

    def _wind_up(self) -> None:
        """Let what is under way come to its end, or give it back when its grace is over."""
        self._stopped.set()
        end_s = self._clock.monotonic_s() + self._habits.grace_s
        while self._at_work or self._chores_at_work:
            wait(self._jobs(), timeout=_PAUSE_S)
            self._turn()
            now_s = self._clock.monotonic_s()
            if now_s >= end_s and not self._over.is_set():
                self._over.set()
                self._vault.parts.sandbox.close()
            if now_s >= end_s + _GIVEN_BACK_S:
                return

    def _jobs(self) -> list[Future[Any]]:
        jobs: list[Future[Any]] = list(self._at_work.values())
        return jobs + list(self._chores_at_work.values())
