"""chromaseal watch: the whole pipeline in the terminal, as it goes."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Annotated, TypeAlias

import typer

from chromaseal.clock import SystemClock, age_s, to_iso
from chromaseal.entrypoints.cli.options import JsonOption, LedgerOption, VaultOption, open_here
from chromaseal.entrypoints.cli.output import Output, Pane, counted, moment, rough
from chromaseal.errors import Unavailable
from chromaseal.fleet.pipeline import CollectionLook, Happening, Look, Rates, happenings, rates
from chromaseal.fleet.watching import Watching
from chromaseal.run.model import RunState

_RATED = dt.timedelta(minutes=1)
_SHOWN = 12
_COLUMNS = (
    *("collection", "version", "age", "records", "wait", "merging", "failed"),
    *("cancelled", "oldest waits", "lag", "compacted by"),
)

IntervalOption: TypeAlias = Annotated[
    float,
    typer.Option("--interval", metavar="SECONDS", min=0.1, help="How long to wait in between."),
]
OnceOption: TypeAlias = Annotated[bool, typer.Option("--once", help="Look once, and end.")]


def watch(
    interval_s: IntervalOption = 2.0,
    once: OnceOption = False,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show versions, runs, leases and what happens, over and over; until Ctrl-C.

    Lag is how long the oldest run of the newest version had waited for it. A look asks the store
    for one listing and one object per collection, and the ledger two or three questions for each;
    nothing is written. What does not answer is said, and asked again. Where the output is no
    terminal, what happens is a line each; --json gives one line per look.

    Example: [bold]chromaseal watch --vault s3://bucket/receipts[/]
    """
    output, clock = Output.of(as_json=as_json), SystemClock()
    with ExitStack() as held:
        watching = held.enter_context(
            Watching(lambda: open_here(vault, ledger, only_read=True), clock)
        )
        show = _Show(output, held.enter_context(output.pane()) if output.is_live else None)
        while True:
            look = watching.look()
            show.look(look)
            if once:
                _complain(look)
                return
            clock.sleep(interval_s)


def _complain(look: Look) -> None:
    """Let a single look that saw nothing end as an error."""
    for error in look.problems.values():
        if isinstance(error, Unavailable):
            raise error


class _Show:
    """Shows looks, and what has happened between them.

    Args:
        output: where to.
        pane: the place on the terminal, if it is one.
    """

    def __init__(self, output: Output, pane: Pane | None) -> None:
        self._output = output
        self._pane = pane
        self._looks: deque[Look] = deque()
        self._recent: deque[Happening] = deque(maxlen=_SHOWN)

    def look(self, now: Look) -> None:
        """Show one."""
        is_first = not self._looks
        happened = [] if is_first else happenings(self._looks[-1], now)
        self._recent.extend(happened)
        self._looks.append(now)
        # Two at least, or whoever looks seldom would be told of no speed at all.
        while len(self._looks) > 2 and now.at - self._looks[0].at > _RATED:  # noqa: PLR2004
            self._looks.popleft()
        speed = rates(self._looks)
        self._output.record("look", **_plain(now, happened, speed))
        if self._pane is not None:
            below = [_speed(speed), *_problems(now), "", *map(_line, self._recent)]
            self._pane.show(_title(now), _COLUMNS, _rows(now), "\n".join(below))
            return
        if is_first:
            self._output.table(_title(now), _COLUMNS, _rows(now))
            happened = happenings(Look(now.at), Look(now.at, problems=now.problems))
        for each in happened:
            self._output.say(_line(each))


def _plain(now: Look, happened: Sequence[Happening], speed: Rates) -> dict[str, object]:
    return {
        "at": to_iso(now.at),
        "collections": [each.as_json(now.at) for each in now.collections],
        "happened": [asdict(each) for each in happened],
        "per_minute": asdict(speed),
        "problems": {of: error.as_json() for of, error in now.problems.items()},
    }


def _title(now: Look) -> str:
    waiting = counted(sum(each.waiting for each in now.collections), "run")
    if now.problems and not any(each.states for each in now.collections):
        # Who did not answer may have any number.
        waiting = "? runs"
    there = counted(len(now.collections), "collection")
    return f"{moment(to_iso(now.at))} UTC, {there}, {waiting} waiting"


def _rows(now: Look) -> list[list[object]]:
    return [_row(each, now.at) for each in now.collections]


def _row(each: CollectionLook, now: dt.datetime) -> list[object]:
    def count(state: RunState) -> object:
        return each.states.get(state, "?") or ""

    return [
        each.name,
        each.number or "none yet",
        rough(age_s(each.made_at, now)),
        each.records,
        count(RunState.PENDING),
        count(RunState.MERGING),
        count(RunState.FAILED),
        count(RunState.CANCELLED),
        rough(age_s(each.oldest_at, now)),
        rough(each.lag_s),
        f"{each.holder}, {each.lease_left_s:.0f} s left" if each.holder else "",
    ]


def _speed(speed: Rates) -> str:
    return (
        f"a minute: {speed.runs_added:.1f} runs added, {speed.runs_merged:.1f} merged, "
        f"{speed.versions:.1f} versions"
    )


def _problems(now: Look) -> list[str]:
    return [
        f"{of} does not answer, shown as it was: {error.message}"
        for of, error in now.problems.items()
    ]


def _line(each: Happening) -> str:
    sentences = {
        "version": f"{each.of}: version {each.detail}",
        "added": f"{each.of}: {counted(each.count, 'run')} added",
        "failed": f"{each.of}: {counted(each.count, 'run')} failed",
        "cancelled": f"{each.of}: {counted(each.count, 'run')} cancelled",
        "silent": f"{each.of} does not answer: {each.detail}",
        "answered": f"{each.of} answers again",
    }
    more = f": {each.detail}" if each.detail and each.what in {"added", "failed"} else ""
    return f"{moment(each.at)} {sentences[each.what]}{more}"
