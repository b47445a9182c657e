"""What commands say: tables and progress for people, one JSON object per line for programs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise, takewhile
from operator import eq
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from chromaseal.entrypoints.cli.pasting import asked_with, pastable
from chromaseal.errors import ChromasealError
from chromaseal.vault import CollectionProgress

# Enough of a run's id to tell it from others; every command takes ids shortened like this.
SHORT_ID = 8
# Cells up to this many characters, a date's length, are not broken over lines.
_UNBROKEN = 10
_ENDLESS = 10_000
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


class Bar(Protocol):
    """A progress bar that counts steps."""

    def advance(self, text: str = "") -> None:
        """Count one more; say what it was."""
        ...


class Output:
    """Where a command's answers go.

    Args:
        as_json: one JSON object per line on standard output, and nothing else there.
        asked: the options for vault and ledger that commands in hints get as well.
    """

    def __init__(self, *, as_json: bool, asked: str = "") -> None:
        self.as_json = as_json
        self._asked = asked
        # Files and pipes have no edge at which a line would have to end, unless somebody says so.
        # A closed one is None.
        has_edge = (sys.stdout and sys.stdout.isatty()) or os.environ.get("COLUMNS", "").isdigit()
        width = None if has_edge else _ENDLESS
        self._console = Console(highlight=False, width=width)
        self._notes = Console(stderr=True, highlight=False)

    @classmethod
    def of(cls, *, as_json: bool) -> Output:
        """Make one."""
        return cls(as_json=as_json, asked=asked_with(sys.argv[1:]))

    def pastable(self, text: str) -> str:
        """Give the commands in a text the options that this one was asked with."""
        return pastable(text, self._asked)

    def record(self, event: str, **values: Any) -> None:  # noqa: ANN401 - plain JSON values
        """Give one object to programs; people get nothing from this."""
        if self.as_json:
            print(json.dumps({"event": event, **values}, ensure_ascii=False), flush=True)  # noqa: T201

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Show a table to people; columns with nothing in them are left out."""
        if self.as_json:
            return
        if not rows:
            self.say(f"{title}: none")
            return
        table = _table(columns, rows)
        # Not as the table's own title, which would be broken over lines where the table is narrow.
        self._console.print(f"[italic]{_shown(title)}[/]", soft_wrap=True)
        if self._console.width != _ENDLESS:
            self._console.print(table)
            return
        # Off a terminal nobody sees where a column ends, but blanks up to there cost everybody.
        with self._console.capture() as shown:
            self._console.print(table)
        for line in shown.get().splitlines():
            self._console.out(line.rstrip(), highlight=False)

    def say(self, text: str) -> None:
        """Tell people something."""
        if not self.as_json:
            self._console.print(_shown(text), soft_wrap=True)

    def note(self, text: str) -> None:
        """Tell people something beside the answer: on standard error, also with ``--json``."""
        self._notes.print(_shown(text), soft_wrap=True)

    @contextlib.contextmanager
    def read_or_not(self) -> Iterator[None]:
        """Let an answer be given to whoever reads on; the exit code is there for the others."""
        try:
            yield
            sys.stdout.flush()
        except (BrokenPipeError, SystemExit):
            # rich makes an exit of a closed pipe.
            discard_output()

    def passed_over(self, version_id: str, error: ChromasealError) -> None:
        """Say that a version is not served, and why."""
        told = {**error.as_json(), "hint": self.pastable(error.hint)}
        self.record("passed-over", version_id=version_id, **told)
        self.note(f"{version_id} is not served: {error.message}")

    def error(self, error: ChromasealError) -> None:
        """Say what happened, why, and what to do next."""
        hint = self.pastable(error.hint)
        if self.as_json:
            told = {**error.as_json(), "hint": hint}
            self.record("error", **told, exit_code=error.exit_code)
            return
        self._notes.print(
            f"[bold red]{_shown(error.kind)}[/]: {_shown(error.message)}", soft_wrap=True
        )
        if hint:
            self._notes.print(f"  [dim]next:[/] {_shown(hint)}", soft_wrap=True)

    @contextlib.contextmanager
    def counting(self, text: str, total: int) -> Iterator[Bar]:
        """Show a bar that counts to a total."""
        with self._progress(MofNCompleteColumn()) as progress:
            task = progress.add_task(text, total=total or None)
            yield _CountingBar(progress, task, text)

    @contextlib.contextmanager
    def steps(self) -> Iterator[CollectionProgress]:
        """Show a bar per collection and step of a compaction or fetch."""
        with self._progress(TaskProgressColumn()) as progress:
            tasks: dict[str, Any] = {}
            at: dict[str, str] = {}

            def show(collection: str, step: str, done: int, total: int) -> None:
                name = f"{collection} {step}".strip()
                before = at.get(collection)
                if before is not None and before != name:
                    # A step ends as the next one begins; of some nobody knows how long they are.
                    progress.update(tasks[before], completed=1, total=1)
                at[collection] = name
                if name not in tasks:
                    tasks[name] = progress.add_task(_shown(name), total=None)
                progress.update(tasks[name], completed=done, total=total or None)

            yield show

    @property
    def is_live(self) -> bool:
        """Whether people look at a terminal, on which lines can be drawn anew."""
        return not self.as_json and self._console.is_terminal

    @contextlib.contextmanager
    def pane(self) -> Iterator[Pane]:
        """Give a place on the terminal where what is shown takes the place of what was."""
        with Live(console=self._console, auto_refresh=False) as live:
            yield Pane(live)

    def _progress(self, how_far: ProgressColumn) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            how_far,
            TimeElapsedColumn(),
            console=self._notes,
            transient=True,
            disable=self.as_json or not sys.stderr.isatty(),
        )


class Pane:
    """A place on the terminal that is drawn anew.

    Args:
        live: what draws.
    """

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], below: str
    ) -> None:
        """Draw a title, a table, and lines below it."""
        drawn = Group(f"[bold]{_shown(title)}[/]", _table(columns, rows), _shown(below))
        self._live.update(drawn, refresh=True)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    cells = [[str(cell) for cell in row] for row in rows]
    longest = [max((len(row[n]) for row in cells), default=0) for n in range(len(columns))]
    kept = [number for number, length in enumerate(longest) if length]
    for number in kept:
        short = longest[number] <= _UNBROKEN
        table.add_column(columns[number], overflow="fold", no_wrap=short)
    for row in cells:
        table.add_row(*(_shown(row[number]) for number in kept))
    return table


def discard_output() -> None:
    """Let everything that is still to be written to standard output go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _CountingBar:
    def __init__(self, progress: Progress, task: Any, text: str) -> None:  # noqa: ANN401
        self._progress = progress
        self._task = task
        self._text = text

    def advance(self, text: str = "") -> None:
        """Count one more; say what it was."""
        self._progress.update(self._task, advance=1, description=_shown(text or self._text))


def _shown(value: object) -> str:
    """Write a value so that nothing in it acts on the terminal: receipts say what they like."""
    return escape(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def counted(count: int, noun: str) -> str:
    """Write a number of things for people.

    Args:
        count: how many.
        noun: what one of them is called; an s makes it several.
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def short_ids(ids: Sequence[str]) -> dict[str, str]:
    """Shorten ids, each to no less than what tells it from the others."""
    # None is more like an id than one of the two beside it in order.
    ordered, shared = sorted(set(ids)), dict.fromkeys(ids, 0)
    for one, next_one in pairwise(ordered):
        alike = sum(takewhile(bool, map(eq, one, next_one)))
        shared |= {one: max(shared[one], alike), next_one: max(shared[next_one], alike)}
    return {each: each[: max(SHORT_ID, alike + 1)] for each, alike in shared.items()}


def in_short(reason: str) -> str:
    """Give the first line of a reason: what it was, without where."""
    return reason.partition("\n")[0]


def size(size_bytes: int | None) -> str:
    """Write bytes for people."""
    if size_bytes is None:
        return ""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004 - decimal units
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def span(first: int, last: int) -> str:
    """Write the versions of a layer for people."""
    return str(first) if first == last else f"{first} to {last}"


def seconds(duration_s: float | None) -> str:
    """Write a duration for people."""
    if duration_s is None:
        return ""
    return f"{duration_s * 1000:.1f} ms" if duration_s < 1 else f"{duration_s:.1f} s"


def rough(duration_s: float | None) -> str:
    """Write an age for people, in its greatest unit."""
    if duration_s is None:
        return ""
    for unit, unit_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if duration_s >= 2 * unit_s:
            return f"{duration_s / unit_s:.0f} {unit}"
    return f"{max(duration_s, 0):.0f} s"


def moment(iso: str) -> str:
    """Write a moment for people: to the second, UTC."""
    return iso[:19].replace("T", " ")
