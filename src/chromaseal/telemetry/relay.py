"""A child process's steps and events as lines of JSON, and back.

A line is one object with the one key ``told``:

* ``["begin", number, parent, name, at_s, facts]``
* ``["end", number, outcome, duration_s, facts]``
* ``["event", parent, name, severity, at_s, facts]``

Steps are numbered from 1; parent 0 is the job itself. Times are seconds since the epoch.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from chromaseal.telemetry.emit import Foreign
from chromaseal.telemetry.observer import Facts, Handle, Severity

TOLD = "told"
# A job that tells of each record would drown what it is about.
_MOST_LINES = 1000


class RelayObserver:
    """Tells another process, with one line each.

    Args:
        send: takes a line as plain data.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._lines = 0

    def begin(self, name: str, facts: Facts, *, under: Handle | None, at_s: float) -> Handle:
        """Send that a step begins; its number is what it is called. 0 where it is not sent."""
        with self._lock:
            if self._is_full(at_s):
                return 0
            number = next(self._numbers)
            self._send({TOLD: ["begin", number, _number(under), name, at_s, dict(facts)]})
        return number

    def end(self, step: Handle, outcome: str, facts: Facts, *, duration_s: float) -> None:
        """Send that it has ended."""
        if _number(step):
            with self._lock:
                self._send({TOLD: ["end", step, outcome, duration_s, dict(facts)]})

    def event(
        self, name: str, severity: Severity, facts: Facts, *, under: Handle | None, at_s: float
    ) -> None:
        """Send what happened."""
        with self._lock:
            if not self._is_full(at_s):
                self._send(
                    {TOLD: ["event", _number(under), name, int(severity), at_s, dict(facts)]}
                )

    def _is_full(self, at_s: float) -> bool:
        self._lines += 1
        if self._lines == _MOST_LINES:
            left_out = ["event", 0, "more left out", int(Severity.WARNING), at_s, {}]
            self._send({TOLD: left_out})
        return self._lines >= _MOST_LINES


def _number(step: Handle | None) -> int:
    # Whatever another observer called a step is none of this one's.
    return step if isinstance(step, int) else 0


def take(told: list[Any], foreign: Foreign) -> None:
    """Tell here what a line says.

    Args:
        told: what stands under ``told``.
        foreign: the steps of the process that sent it.
    """
    match told:
        case ["begin", number, parent, name, at_s, facts]:
            foreign.begin(number, name, facts, parent=parent, at_s=at_s)
        case ["end", number, outcome, duration_s, facts]:
            foreign.end(number, outcome, facts, duration_s=duration_s)
        case ["event", parent, name, severity, at_s, facts]:
            foreign.event(name, severity, facts, parent=parent, at_s=at_s)
