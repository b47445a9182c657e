"""Who watches, as the engine sees it.

A watcher is told; it never decides, and what it does with what it is told is its own affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol, TypeAlias

Fact: TypeAlias = str | int | float | bool
Facts: TypeAlias = Mapping[str, Fact]
# What a watcher calls a step that has begun and not ended; nobody else looks into it.
Handle: TypeAlias = object

OK = "ok"


class Severity(IntEnum):
    """How much an event wants to be read; the numbers are those of ``logging``."""

    DEBUG = 10
    INFO = 20
    WARNING = 30


class Observer(Protocol):
    """Somebody who is told of steps and events, from any thread."""

    def begin(self, name: str, facts: Facts, *, under: Handle | None, at_s: float) -> Handle:
        """Hear that a step begins.

        Args:
            name: one of ``names.STEPS`` or ``names.OPERATIONS``.
            facts: what is known by now.
            under: the step of which it is a part, as an earlier ``begin`` called it.
            at_s: seconds since the epoch.

        Returns:
            What this observer calls the step.
        """
        ...

    def end(self, step: Handle, outcome: str, facts: Facts, *, duration_s: float) -> None:
        """Hear that a step has ended.

        Args:
            step: what ``begin`` gave.
            outcome: ``ok``, or the kind of the error that ended it.
            facts: what came of it.
            duration_s: how long it took.
        """
        ...

    def event(
        self, name: str, severity: Severity, facts: Facts, *, under: Handle | None, at_s: float
    ) -> None:
        """Hear that something happened.

        Args:
            name: one of ``names.EVENTS``.
            severity: how much it wants to be read.
            facts: about it.
            under: the step in which it happened, if in any.
            at_s: seconds since the epoch.
        """
        ...


class Silent:
    """Nobody watches; a subclass may hear of events, and of nothing else."""

    def begin(self, name: str, facts: Facts, *, under: Handle | None, at_s: float) -> Handle:
        """Do nothing."""
        del name, facts, under, at_s
        return self

    def end(self, step: Handle, outcome: str, facts: Facts, *, duration_s: float) -> None:
        """Do nothing."""

    def event(
        self, name: str, severity: Severity, facts: Facts, *, under: Handle | None, at_s: float
    ) -> None:
        """Do nothing."""


class Several:
    """Tells each of several observers.

    Args:
        observers: whom.
    """

    def __init__(self, observers: tuple[Observer, ...]) -> None:
        self._observers = observers

    def begin(self, name: str, facts: Facts, *, under: Handle | None, at_s: float) -> Handle:
        """Tell each; the handle is all of theirs."""
        theirs = _each(under, len(self._observers))
        return tuple(
            observer.begin(name, facts, under=its, at_s=at_s)
            for observer, its in zip(self._observers, theirs, strict=True)
        )

    def end(self, step: Handle, outcome: str, facts: Facts, *, duration_s: float) -> None:
        """Tell each."""
        for observer, its in zip(self._observers, _each(step, len(self._observers)), strict=True):
            observer.end(its, outcome, facts, duration_s=duration_s)

    def event(
        self, name: str, severity: Severity, facts: Facts, *, under: Handle | None, at_s: float
    ) -> None:
        """Tell each."""
        theirs = _each(under, len(self._observers))
        for observer, its in zip(self._observers, theirs, strict=True):
            observer.event(name, severity, facts, under=its, at_s=at_s)


def _each(handle: Handle | None, count: int) -> tuple[Handle | None, ...]:
    return handle if isinstance(handle, tuple) else (None,) * count
