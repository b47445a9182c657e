"""What happens to a worker, written down once: in its standing, for whoever is told, as events."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from chromaseal.clock import Clock
from chromaseal.compaction.outcome import Compaction
from chromaseal.errors import ChromasealError
from chromaseal.fleet.standing import Account, Standing, failed, succeeded
from chromaseal.telemetry.emit import event, outcome_of
from chromaseal.telemetry.observer import Severity

# More runs of a collection than this are more than come in while one version is made.
BEHIND_RUNS = 500


class Told(Protocol):
    """Who is told what a worker does, by name and facts."""

    def __call__(self, name: str, /, **facts: object) -> None:
        """Hear of one event."""
        ...


def tell_nobody(name: str, /, **facts: object) -> None:
    """Tell nobody."""


class Journal:
    """A worker's standing, and who is told of what changes it; any thread may write.

    Args:
        clock: time.
        told: called for one event at a time.
        behind_runs: how many runs of a collection may wait before it says so.
    """

    def __init__(self, clock: Clock, told: Told, *, behind_runs: int) -> None:
        self._clock = clock
        self._told = told
        self._behind_runs = behind_runs
        self._behind: set[str] = set()
        self._lock = threading.RLock()
        self._standing = Standing(clock.monotonic_s())

    @property
    def standing(self) -> Standing:
        """Give what is known now."""
        return self._standing

    def say(self, name: str, /, **facts: object) -> None:
        """Tell whoever listens; nothing is written down."""
        with self._lock:
            self._told(name, **facts)

    def turned(self) -> None:
        """Write that the loop has come round."""
        with self._lock:
            self._standing = replace(self._standing, turned_s=self._clock.monotonic_s())

    def looked(self, backlog: Mapping[str, int]) -> None:
        """Write what ledger and store have answered: runs that wait, by collection."""
        with self._lock:
            self._standing = replace(self._standing, answered_s=self._clock.monotonic_s())
            for name, runs in backlog.items():
                self._change(name, functools.partial(replace, backlog=runs))
                self._say_if_behind(name, runs)

    def begun(self, collection: str) -> None:
        """Write that a compaction has begun."""
        with self._lock:
            self._change(collection, lambda a: replace(a, working=True))

    def compacted(self, collection: str, done: Compaction) -> None:
        """Write what a compaction did."""
        with self._lock:
            at_s = self._clock.now().timestamp()
            self._change(collection, lambda a: _with_compaction(succeeded(a, at_s), done))
            if done.version is not None or done.failed or done.contained:
                self._told("compacted", compaction=done)

    def left(self, collection: str, why: str) -> None:
        """Write that another process is at work on a collection."""
        event("left to its holder", Severity.DEBUG, collection=collection, reason=why)
        with self._lock:
            before = self._standing.accounts.get(collection, Account())
            self._change(collection, lambda a: replace(a, working=False, left=True))
            if not before.left:
                self._told("left", collection=collection, reason=why)

    def given_back(self, collection: str, why: str) -> None:
        """Write that a compaction was ended before it was done."""
        with self._lock:
            self._change(collection, lambda a: replace(a, working=False))
            self._told("given-back", collection=collection, reason=why)

    def failed(self, work: str, error: BaseException, *, waits_s: float, is_chore: bool) -> None:
        """Write that a compaction, or a chore, has failed and rests."""
        event(
            "work failed",
            Severity.WARNING,
            collection=work,
            reason=outcome_of(error),
            waited_s=waits_s,
        )
        with self._lock:
            if is_chore:
                self._standing = self._standing.with_chore(work, failed)
            else:
                self._change(work, failed)
            self._told("failed", work=work, waits_s=round(waits_s, 3), **_plain(error))

    def chore_done(self, name: str) -> None:
        """Write that a chore has come to its end."""
        at_s = self._clock.now().timestamp()
        with self._lock:
            self._standing = self._standing.with_chore(name, lambda a: succeeded(a, at_s))

    def image(self, status: str, **facts: object) -> None:
        """Write what became of an image of the inbox."""
        with self._lock:
            self._standing = self._standing.with_image(status)
            self._told("image", status=status, **facts)

    def _change(self, collection: str, change: Callable[[Account], Account]) -> None:
        self._standing = self._standing.with_account(collection, change)

    def _say_if_behind(self, collection: str, runs: int) -> None:
        if runs > self._behind_runs and collection not in self._behind:
            self._behind.add(collection)
            event("falling behind", Severity.WARNING, collection=collection, runs=runs)
            self._told("behind", collection=collection, runs=runs)
        elif collection in self._behind and runs <= self._behind_runs // 2:
            self._behind.discard(collection)
            self._told("caught-up", collection=collection, runs=runs)


def _with_compaction(account: Account, done: Compaction) -> Account:
    return replace(
        account,
        versions=account.versions + (done.version is not None),
        merged=account.merged + len(done.merged),
        set_aside=account.set_aside + len(done.failed),
    )


def _plain(error: BaseException) -> dict[str, str]:
    if isinstance(error, ChromasealError):
        return error.as_json()
    return {"error": type(error).__name__, "message": str(error), "hint": ""}
