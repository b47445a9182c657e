"""Whose turn it is to sync a collection to a mount: an exclusive ``mkdir`` per turn.

A turn saves the work of doing the same twice, and guards nothing: every attempt has names of its
own. Whoever has the turn changes a file now and then, from a thread, for a single call to a slow
mount may take longer than others wait; where that file stays as it is for a while, by the clock of
whoever waits, the next turn is free.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from chromaseal.clock import Clock
from chromaseal.mount.layout import (
    BEAT,
    DONE,
    DirectoryName,
    done_name,
    parse_done,
    parse_turn,
    turn_name,
)

# Longer than clients of NFS believe what they know of a file.
EXPIRY_S = 75.0
BEAT_S = 5.0
# Longer than any one call takes that comes to an end. A process that hangs for ever has its turn
# taken, although it lives.
SILENCE_S = 900.0
# Whoever goes by a listing that is older than a few turns must not find their numbers free.
_REMEMBERED = 32


class Turn:
    """A turn that this process has.

    Args:
        folder: of all turns.
        number: which one.
        owner: who has it.
        clock: for how often it is told that this process lives.
        brought_before: the version directory that the turn before ended with, if it did.
    """

    def __init__(
        self,
        folder: Path,
        number: int,
        owner: str,
        clock: Clock,
        brought_before: DirectoryName | None = None,
    ) -> None:
        self.number = number
        self.brought_before = brought_before
        self._folder = folder
        self._owner = owner
        self._clock = clock
        self._beats = 0
        self._beaten_at_s = clock.monotonic_s() - BEAT_S
        self._got_on_at_s = clock.monotonic_s()
        self._ended = threading.Event()
        self._writing = threading.Lock()

    def beat(self) -> None:
        """Tell whoever waits that the work gets on; called often, it writes seldom."""
        now_s = self._got_on_at_s = self._clock.monotonic_s()
        if now_s >= self._beaten_at_s + BEAT_S:
            self._write(now_s)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Tell whoever waits, as long as the block lasts, that this process lives.

        In one long call nothing gets on; that is not told for ever, but for ``SILENCE_S``.
        """
        self._ended.clear()
        thread = threading.Thread(target=self._beat_on, name=f"turn {self.number}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            # It may be in a call that hangs; nobody is to wait for a sign of life.
            thread.join(BEAT_S)

    def _beat_on(self) -> None:
        while not self._ended.wait(BEAT_S):
            now_s = self._clock.monotonic_s()
            if now_s < self._got_on_at_s + SILENCE_S:
                self._write(now_s)

    def _write(self, now_s: float) -> None:
        with self._writing:
            self._beaten_at_s = now_s
            self._beats += 1
            # Without the folder the turn was lost, which whoever works is told before it ends.
            with contextlib.suppress(OSError):
                (self._place / BEAT).write_text(f"{self._owner} {self._beats}\n")

    def is_lost(self) -> bool:
        """Whether another has taken this process for dead."""
        with contextlib.suppress(OSError):
            return newest_turn(self._folder) != self.number
        return False

    def end(self, brought: DirectoryName | None = None) -> None:
        """Let the next one begin at once, and know what there is by now."""
        with contextlib.suppress(OSError):
            (self._place / done_name(brought)).mkdir()

    @property
    def _place(self) -> Path:
        return self._folder / turn_name(self.number)


class Turns:
    """The turns of a collection, as one process sees them.

    Args:
        folder: where they are.
        owner: who asks; shown to whoever waits.
        clock: for how long another's has not changed.
    """

    def __init__(self, folder: Path, owner: str, clock: Clock) -> None:
        self._folder = folder
        self._owner = owner
        self._clock = clock
        self._seen: tuple[int, bytes] = (0, b"")
        self._seen_since_s = 0.0

    def take(self) -> Turn | None:
        """Take the next turn if it is free; None if another has it.

        Raises:
            OSError: the mount cannot be used.
        """
        before = newest_turn(self._folder)
        if before and not self._is_over(before):
            return None
        number = before + 1
        place = self._folder / turn_name(number)
        try:
            place.mkdir()
        except FileExistsError:
            return None
        if newest_turn(self._folder) != number:
            # What was seen before was old: that number had been taken, and removed since.
            place.rmdir()
            return None
        brought = max(self._ends(before), default="")
        for older in _numbers(self._folder):
            if older <= number - _REMEMBERED:
                shutil.rmtree(self._folder / turn_name(older), ignore_errors=True)
        turn = Turn(self._folder, number, self._owner, self._clock, parse_done(brought))
        turn.beat()
        return turn

    def holder(self) -> str:
        """Say who has the turn, as far as that is known."""
        return self._seen[1].decode(errors="replace").rpartition(" ")[0] or "another process"

    def _is_over(self, number: int) -> bool:
        if self._ends(number):
            return True
        place, beat = self._folder / turn_name(number), b""
        with contextlib.suppress(OSError):
            beat = (place / BEAT).read_bytes()
        now_s = self._clock.monotonic_s()
        if self._seen != (number, beat):
            self._seen, self._seen_since_s = (number, beat), now_s
        return now_s >= self._seen_since_s + EXPIRY_S

    def _ends(self, number: int) -> list[str]:
        with contextlib.suppress(OSError):
            listed = os.listdir(self._folder / turn_name(number))  # noqa: PTH208 - names, no paths
            return [name for name in listed if name.startswith(DONE)]
        return []


def newest_turn(folder: Path) -> int:
    """Give the number of the newest turn; 0 before the first."""
    return max(_numbers(folder), default=0)


def _numbers(folder: Path) -> list[int]:
    found = (parse_turn(name) for name in os.listdir(folder))  # noqa: PTH208 - names, no paths
    return [number for number in found if number is not None]
