"""Steps and events as structured log lines, for people or for programs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, TextIO

import structlog

from chromaseal.telemetry.names import OPERATIONS
from chromaseal.telemetry.observer import OK, Facts, Handle, Severity

_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class _Begun:
    number: int
    name: str
    facts: Facts


class StructlogObserver:
    """Writes a line for each event and each end of a step; beginnings only at DEBUG.

    Each line of a step carries ``step``, its number, and ``part_of``, that of the step around it.

    Args:
        logger: a structlog logger, an application's own or one of ``logger_to``.
    """

    def __init__(self, logger: Any) -> None:  # noqa: ANN401 - structlog's loggers share no class
        self._logger = logger
        self._numbers = itertools.count(1)

    def begin(self, name: str, facts: Facts, *, under: Handle | None, at_s: float) -> Handle:
        """Write that a step begins, but for operations."""
        del at_s
        begun = _Begun(next(self._numbers), name, {**facts, **_part_of(under)})
        if name not in OPERATIONS:
            self._logger.log(int(Severity.DEBUG), name, step=begun.number, **begun.facts)
        return begun

    def end(self, step: Handle, outcome: str, facts: Facts, *, duration_s: float) -> None:
        """Write how a step has ended."""
        if not isinstance(step, _Begun):
            return
        severity = Severity.INFO if outcome == OK else Severity.WARNING
        if step.name in OPERATIONS:
            # That an object is not there, or is there already, is an answer like others.
            severity = Severity.DEBUG
        own = {"outcome": outcome, "duration_s": round(duration_s, _DECIMALS)}
        told = {**step.facts, **_rounded(facts), **own}
        self._logger.log(int(severity), step.name, step=step.number, **told)

    def event(
        self, name: str, severity: Severity, facts: Facts, *, under: Handle | None, at_s: float
    ) -> None:
        """Write what happened."""
        del at_s
        self._logger.log(int(severity), name, **_rounded(facts), **_part_of(under))


def logger_to(stream: TextIO, *, as_json: bool, severity: Severity) -> Any:  # noqa: ANN401 - structlog's
    """Make a logger of its own, whatever the process has configured.

    Args:
        stream: where the lines go.
        as_json: one JSON object per line; otherwise for people, in colour on a terminal.
        severity: the least that is written.
    """
    renderer: Any = structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0)
    if as_json:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(int(severity)),
        cache_logger_on_first_use=True,
    )


def _part_of(under: Handle | None) -> dict[str, int]:
    return {"part_of": under.number} if isinstance(under, _Begun) else {}


def _rounded(facts: Facts) -> dict[str, Any]:
    return {
        name: round(value, _DECIMALS) if isinstance(value, float) else value
        for name, value in facts.items()
    }
