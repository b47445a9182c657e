"""The job "copy-live": a directory that an application writes -> a private copy of one state of it.

The application is never asked and hardly notices: files are copied without any lock; then
SQLite's write lock is held for as long as it takes to look at all files again. Where the
application commits too often for that, what still differs is copied under the lock, for at most
the budget. ``seal/quiet.py`` decides whether the copy is one state.

Nothing is written into the application's directory, and its database is never opened by SQLite
or ChromaDB, which would roll back a journal or change pages. The target is changed in place: if
this job dies, its target may be anything and has to be thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

from chromaseal.adapters.chroma.backlog import read_backlogs
from chromaseal.adapters.chroma.block_copy import remove_others, update_file
from chromaseal.adapters.chroma.live_directory import LiveDirectory
from chromaseal.adapters.chroma.reserved_lock import ReservedLock
from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.clock import Clock, SystemClock
from chromaseal.errors import Damaged
from chromaseal.sandbox import Plain, Progress
from chromaseal.seal.open_files import OpenFiles
from chromaseal.seal.page_table import FileStamp
from chromaseal.seal.quiet import (
    DATABASE,
    Observation,
    being_flushed,
    differing,
    flush_died,
    settled,
    settled_files,
    unfinished,
    what_changed,
)
from chromaseal.telemetry.emit import event
from chromaseal.telemetry.observer import Severity

# A writer that waits for a lock looks again in steps of up to 100 ms: it has to get its turn.
_PAUSE_S = 0.3
# Between the commits of one change there are a few milliseconds.
_QUIET_S = 0.025
_LONGEST_WAIT_S = 1.0
_ATTEMPTS_WITHOUT_LOCK = 3


class Outcome(NamedTuple):
    """What came of one attempt: the state that was copied, or why there is none."""

    seen: Observation | None
    reason: str


def run(request: Plain, progress: Progress) -> Plain:
    """Copy a live directory.

    Args:
        request: ``directory``; ``target``, a private directory as the previous run left it, or
            none; ``known``, the ``stats`` that this run gave, or nothing; ``budget_s``, the
            longest that writers may be held back at a time; ``attempts``.
        progress: not used.

    Returns:
        ``consistent`` and, if not, the ``reason`` why not; ``stats`` for the next run with
        this target, consistent or not, of the files that need not be looked at again;
        ``changed``, the files that were written or removed; ``copied_bytes``; ``locked_s``, the
        longest single hold; ``under_lock``, whether files had to be copied under it;
        ``attempts``; ``duration_s``.

    Raises:
        Conflict: ``changed-while-reading``.
        Damaged: ``hot-journal``, ``malformed-database``, ``no-database``,
            ``not-a-plain-file`` or ``unfinished-flush``.
        Unsupported: ``cannot-lock``, ``no-proc`` or ``write-ahead-log``.
    """
    del progress
    copy = LiveCopy(
        Path(request["directory"]),
        Path(request["target"]),
        known={path: FileStamp(*stamp) for path, stamp in request["known"].items()},
        budget_s=request["budget_s"],
        clock=SystemClock(),
        open_files=ProcOpenFiles(),
    )
    return copy.run(request["attempts"])


class LiveCopy:
    """One private copy on its way to being consistent.

    Args:
        directory: somebody else's.
        target: a private directory; a file that is not as ``known`` says is compared.
        known: settled stamps of the files that ``target`` has as they were then.
        budget_s: the longest hold of the lock.
        clock: time.
        open_files: who has the directory open.
        attempts_without_lock: after so many, files may be copied under the lock.
    """

    def __init__(
        self,
        directory: Path,
        target: Path,
        *,
        known: dict[str, FileStamp],
        budget_s: float,
        clock: Clock,
        open_files: OpenFiles,
        attempts_without_lock: int = _ATTEMPTS_WITHOUT_LOCK,
    ) -> None:
        self._directory = directory
        self._target = target
        self._copied = {path: stamp for path, stamp in known.items() if self._has(path, stamp)}
        self._budget_s = budget_s
        self._clock = clock
        self._open_files = open_files
        self._attempts_without_lock = attempts_without_lock
        self._changed: set[str] = set()
        self._copied_bytes = 0
        self._locked_s = 0.0

    def run(self, attempts: int) -> Plain:
        """Try until the copy is consistent or the attempts are used up."""
        start_s = self._clock.monotonic_s()
        done, under_lock, outcome = 0, False, Outcome(None, "no attempt was made")
        while done < attempts and outcome.seen is None:
            under_lock = done >= self._attempts_without_lock
            with LiveDirectory(self._directory, self._clock) as live:
                if done:
                    self._wait(live, _PAUSE_S if under_lock else 0.0)
                outcome = self._attempt(live, under_lock=under_lock, last=done + 1 == attempts)
            done += 1
        # Of an attempt that failed, the files that were at rest need not be copied again.
        stamps = settled_files(outcome.seen) if outcome.seen else self._copied
        return {
            "consistent": outcome.seen is not None,
            "reason": outcome.reason,
            "stats": {path: astuple(stamp) for path, stamp in stamps.items()},
            "changed": sorted(self._changed),
            "copied_bytes": self._copied_bytes,
            "locked_s": round(self._locked_s, 6),
            "under_lock": under_lock,
            "attempts": done,
            "duration_s": round(self._clock.monotonic_s() - start_s, 6),
        }

    def _attempt(self, live: LiveDirectory, *, under_lock: bool, last: bool) -> Outcome:
        before = live.observe()
        self._update(before, lambda: True)
        if not under_lock:
            # A look costs nothing; the lock is only for when nothing seems to have changed.
            changed = what_changed(before, live.observe())
            if changed:
                return Outcome(None, changed)
        with live.reserved(self._budget_s) as lock:
            self._refuse_hot_journal(lock)
            if not lock.taken:
                return Outcome(None, "a transaction does not end")
            after = live.observe()
            reason = self._under(lock, live, after) if under_lock else what_changed(before, after)
            still = lock.is_held()
        event("lock probed", Severity.DEBUG, taken=lock.taken, held_s=lock.held_s, hot=lock.hot)
        self._locked_s = max(self._locked_s, lock.held_s)
        if not reason and not still:
            reason = f"more to compare than {self._budget_s} s under the lock are enough for"
        if reason:
            return Outcome(None, reason)
        return self._decide(after, last=last)

    def _under(self, lock: ReservedLock, live: LiveDirectory, seen: Observation) -> str:
        flushed = being_flushed(seen)
        if flushed:
            return f"{flushed[0]} is being written"
        if not self._update(seen, lock.is_held):
            return f"more to copy than {self._budget_s} s under the lock are enough for"
        now = live.observe()
        if (now.change_counter, now.files) == (seen.change_counter, seen.files):
            return ""
        return what_changed(seen, now)

    def _decide(self, seen: Observation, *, last: bool) -> Outcome:
        backlogs = read_backlogs(self._target)
        reason = unfinished(seen, backlogs, held=True)
        # Looking through all processes takes longer than everything else here.
        if not reason or self._is_open():
            return Outcome(None if reason else seen, reason)
        died = flush_died(seen, backlogs)
        # A process that cannot be seen from here would have gone on by now.
        if died and last:
            raise Damaged(
                f"the index of {died} in {self._directory} was being flushed by a process that "
                "is gone",
                kind="unfinished-flush",
                hint="restore the directory from its newest version: chromaseal open COLLECTION",
            )
        reason = unfinished(seen, backlogs, held=False)
        return Outcome(None if reason else seen, reason)

    def _update(self, seen: Observation, may_go_on: Callable[[], bool]) -> bool:
        """Copy what differs; tell whether that was all of it."""
        self._target.mkdir(exist_ok=True)
        self._changed.update(remove_others(self._target, frozenset(seen.files)))
        wanted, at_rest = differing(seen, self._copied), settled_files(seen)
        for path in wanted:
            self._copied.pop(path, None)
        # The database first: it is what has to stand still while it is copied.
        for path in sorted(wanted, key=lambda p: (p != DATABASE, p)):
            try:
                written = update_file(
                    self._directory / path, self._target / path, may_go_on=may_go_on
                )
            except FileNotFoundError:
                # Removed since it was seen; the next observation says so.
                continue
            if written is None:
                return False
            if written:
                self._changed.add(path)
                self._copied_bytes += written
            if path in at_rest:
                self._copied[path] = at_rest[path]
        return True

    def _has(self, path: str, stamp: FileStamp) -> bool:
        try:
            return (self._target / path).stat().st_size == stamp.size_bytes
        except OSError:
            return False

    def _is_open(self) -> bool:
        holders = self._open_files.holders(self._directory)
        return any(holder.pid != os.getpid() for holder in holders)

    def _wait(self, live: LiveDirectory, pause_s: float) -> None:
        """Give the writer its turn, then wait until it rests for a moment."""
        self._clock.sleep(pause_s)
        deadline_s = self._clock.monotonic_s() + _LONGEST_WAIT_S
        seen = live.observe()
        while not settled(seen.files[DATABASE], seen.seen_ns) or being_flushed(seen):
            if self._clock.monotonic_s() > deadline_s:
                return
            self._clock.sleep(_QUIET_S)
            seen = live.observe()

    def _refuse_hot_journal(self, lock: ReservedLock) -> None:
        if lock.hot:
            raise Damaged(
                f"{self._directory / DATABASE}-journal is there and no process is writing: "
                "a writer died in the middle of a change",
                kind="hot-journal",
                hint="open and close the directory once with ChromaDB, which rolls it back",
            )
