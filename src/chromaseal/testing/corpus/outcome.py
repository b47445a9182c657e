"""A case -> at which level which check finds it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chromaseal.clock import SystemClock
from chromaseal.sandbox import Sandbox
from chromaseal.seal.examine import examine
from chromaseal.seal.open_files import Holder
from chromaseal.seal.verdict import Level
from chromaseal.testing.corpus.case import Case, Kind
from chromaseal.testing.corpus.cases import damaged


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case.

    Attributes:
        case: which one.
        said: what was done to the directory.
        found_at: the first level that finds it; None if none does.
        checks: those that did not pass there.
    """

    case: Case
    said: str
    found_at: Level | None
    checks: tuple[str, ...]

    def found_by(self, level: Level) -> bool:
        """Whether a level finds it: each contains the ones before."""
        order = list(Level)
        return self.found_at is not None and order.index(self.found_at) <= order.index(level)

    @property
    def as_expected(self) -> bool:
        """Whether what is harmful is found, and what is not raises no alarm."""
        return (self.found_at is not None) == (self.case.damage.kind is Kind.HARMFUL)


class Nobody:
    """Says that no process has anything open: the corpus is this process's own."""

    def holders(self, directory: Path) -> list[Holder]:
        """Name nobody."""
        del directory
        return []


def look(case: Case, scratch: Path, sandbox: Sandbox) -> Outcome:
    """Make a case and look at it, at one level after the other, until it is found.

    Args:
        case: which one.
        scratch: an empty directory; empty again afterwards.
        sandbox: where the checks run.
    """
    directory = scratch / "case"
    try:
        said = damaged(case, directory)
        for level in Level:
            verdict = examine(
                directory,
                level,
                sandbox=sandbox,
                open_files=Nobody(),
                clock=SystemClock(),
                scratch=scratch,
            )
            if not verdict.sound:
                return Outcome(case, said, level, tuple(f.check for f in verdict.failed))
        return Outcome(case, said, None, ())
    finally:
        for path in scratch.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def share_found(outcomes: Iterable[Outcome], level: Level) -> float:
    """Give which share of the harmful cases a level finds."""
    harmful = [each for each in outcomes if each.case.damage.kind is Kind.HARMFUL]
    return sum(each.found_by(level) for each in harmful) / len(harmful)
