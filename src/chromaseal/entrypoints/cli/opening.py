"""What a program that stays needs, opened once it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from chromaseal.clock import SystemClock
from chromaseal.entrypoints.cli.output import Output
from chromaseal.errors import Unavailable
from chromaseal.fleet.patience import until_answered
from chromaseal.ids import SystemIds

_Given = TypeVar("_Given")


def open_when_there(output: Output, ask: Callable[[], _Given]) -> _Given:
    """Open what a program that stays needs, once it answers; say so for as long as it does not.

    Raises:
        Unavailable: it has not answered for some minutes.
    """

    def told(error: Unavailable, waits_s: float) -> None:
        output.record("waiting", **error.as_json(), waits_s=round(waits_s, 1))
        output.note(f"{error.message}; asked again in {waits_s:.0f} s")

    return until_answered(ask, clock=SystemClock(), ids=SystemIds(), told=told)
