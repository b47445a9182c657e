"""What a look at a directory, a version or a delta came to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How closely something is looked at; each level includes the ones before it.

    ``presence`` reads no content. ``quick`` reads everything once: digests, SQLite's quick check,
    the index's structure, ids against ids. ``deep`` adds SQLite's thorough checks, every value,
    and ChromaDB itself.
    """

    PRESENCE = "presence"
    QUICK = "quick"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says.

    Attributes:
        check: its name.
        passed: the verdict.
        evidence: what it is based on, in a few words.
        duration_s: how long it took.
    """

    check: str
    passed: bool
    evidence: str
    duration_s: float = 0.0

    def plain(self, duration_s: float) -> dict[str, Any]:
        """Give it as a job answers, with how long it took."""
        return {**asdict(self), "duration_s": round(duration_s, 6)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything that was found.

    Attributes:
        subject: what was looked at, as the caller named it.
        level: how closely.
        findings: every check, in order.
        size_bytes: of what was looked at.
        duration_s: of the whole look.
    """

    subject: str
    level: Level
    findings: tuple[Finding, ...]
    size_bytes: int
    duration_s: float

    @property
    def sound(self) -> bool:
        """Whether every check passed."""
        return all(finding.passed for finding in self.findings)

    @property
    def failed(self) -> tuple[Finding, ...]:
        """Give the checks that did not pass."""
        return tuple(finding for finding in self.findings if not finding.passed)


def in_words(findings: Iterable[Finding]) -> str:
    """Say what some checks found, for a message."""
    return "; ".join(f"{each.check} ({each.evidence})" for each in findings)
