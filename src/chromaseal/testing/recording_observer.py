"""An observer that remembers all that it was told."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from chromaseal.telemetry.observer import Fact, Facts, Handle, Severity


@dataclass(eq=False)
class Heard:
    """A step or an event.

    Attributes:
        name: of it.
        facts: all that was told of it.
        under: the step around it.
        outcome: how a step ended; empty while it has not, and for events.
        severity: of an event.
    """

    name: str
    facts: dict[str, Fact]
    under: Heard | None
    outcome: str = ""
    severity: Severity | None = None
    duration_s: float = 0.0


@dataclass
class RecordingObserver:
    """Remembers steps in the order of their beginnings, and events in theirs."""

    steps: list[Heard] = field(default_factory=list)
    events: list[Heard] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, name: str, facts: Facts, *, under: Handle | None, at_s: float) -> Handle:
        """Remember a step."""
        del at_s
        heard = Heard(name, dict(facts), under if isinstance(under, Heard) else None)
        with self._lock:
            self.steps.append(heard)
        return heard

    def end(self, step: Handle, outcome: str, facts: Facts, *, duration_s: float) -> None:
        """Remember how it ended."""
        if isinstance(step, Heard):
            step.facts.update(facts)
            step.outcome = outcome
            step.duration_s = duration_s

    def event(
        self, name: str, severity: Severity, facts: Facts, *, under: Handle | None, at_s: float
    ) -> None:
        """Remember an event."""
        del at_s
        around = under if isinstance(under, Heard) else None
        with self._lock:
            self.events.append(Heard(name, dict(facts), around, severity=severity))

    def step(self, name: str) -> Heard:
        """Give the only step of a name."""
        (found,) = [heard for heard in self.steps if heard.name == name]
        return found

    def said(self, name: str) -> list[Heard]:
        """Give every event of a name."""
        return [heard for heard in self.events if heard.name == name]
