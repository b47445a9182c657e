"""When each piece of work may be tried again: at once, after a rest, or ever later."""

from __future__ import annotations

from collections.abc import Iterable

from chromaseal.ids import Ids, wait_after_s


class Rests:
    """What rests, until when, by a clock that whoever asks reads.

    Args:
        ids: for the chance that keeps workers apart which failed together.
        first_s: the rest after a first failure, give or take a half; it doubles with each more.
        longest_s: what it does not exceed, but for chance.
    """

    def __init__(self, ids: Ids, *, first_s: float = 1.0, longest_s: float = 300.0) -> None:
        self._ids = ids
        self._first_s = first_s
        self._longest_s = longest_s
        self._until_s: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def rests(self, name: str, now_s: float) -> bool:
        """Whether something is not to be tried yet."""
        return now_s < self._until_s.get(name, now_s)

    def rest(self, name: str, now_s: float, duration_s: float) -> None:
        """Let something rest that has not failed."""
        self._until_s[name] = now_s + duration_s

    def failed(self, name: str, now_s: float) -> float:
        """Let something rest that has failed; give for how long."""
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        wait_s = wait_after_s(failures, self._ids, first_s=self._first_s, longest_s=self._longest_s)
        self._until_s[name] = now_s + wait_s
        return wait_s

    def succeeded(self, name: str) -> None:
        """Forget failures and rest."""
        self._until_s.pop(name, None)
        self._failures.pop(name, None)

    def next_s(self, names: Iterable[str], now_s: float) -> float | None:
        """Give the seconds until the first of some may be tried again; None if none rests."""
        waits = [self._until_s[name] - now_s for name in names if self.rests(name, now_s)]
        return min(waits, default=None)
