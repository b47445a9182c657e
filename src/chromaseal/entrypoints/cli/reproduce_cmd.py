"""chromaseal reproduce: the incident itself, on this machine."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from chromaseal.composition.reproduction import laboratory
from chromaseal.entrypoints.cli.options import JsonOption
from chromaseal.entrypoints.cli.output import Output, counted
from chromaseal.errors import Damaged
from chromaseal.reproduction.application import Plan
from chromaseal.reproduction.experiment import reproduce as trials_of
from chromaseal.reproduction.trial import Summary, Trial, summaries

_COLUMNS = ("way", "tried", "bad", "what was wrong", "what ChromaDB said")
_PLAN = Plan()
_EXPLANATION = (
    "The old ways read one file after another while ChromaDB writes them, and put the pointer "
    "whatever else has happened meanwhile: what comes out has parts of different moments, or lacks "
    "some, and no step reports an error. This way publishes only copies of one moment that passed "
    "every check, and moves the pointer only from the version that it builds on."
)
_NONE_BAD = (
    "This time nothing came out bad, the old ways' copies included: whether they do depends on "
    "who is faster. More of it with --copies and --records makes it likelier."
)


def reproduce(
    copies: Annotated[
        int, typer.Option("--copies", metavar="N", min=1, help="How many copies, each way.")
    ] = 10,
    records: Annotated[
        int,
        typer.Option(
            "--records", metavar="N", min=100, help="How many records the application begins with."
        ),
    ] = _PLAN.records,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Decides what is in the records.")
    ] = _PLAN.seed,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            help="Leave what came out bad, of every way, in DIR, for chromaseal verify.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Damage ChromaDB directories as the incident did, beside copies that are whole.

    An application writes into a directory of its own, in a temporary folder. Its files are copied
    meanwhile: one by one at the speed of an upload, as fast as the disk can, and by chromaseal
    replicate. Every copy is checked and opened with ChromaDB. Two compactors at once and uploads
    that stop half-way follow, both ways. Takes about a minute; more on a machine that is busy.

    Example: [bold]chromaseal reproduce --keep ./bad[/]
    """
    output = Output.of(as_json=as_json)
    plan = Plan(records=records, seed=seed)
    found: list[Trial] = []
    with laboratory() as here, output.steps() as show:
        progress = functools.partial(show, "")
        for trial in trials_of(here, plan, copies=copies, keep=keep, progress=progress):
            output.record("trial", **asdict(trial))
            found.append(trial)
    summed = summaries(found)
    for summary in summed:
        output.record("way", words=summary.way.words, **asdict(summary))
    title = f"beside an application that goes on writing into {records} records, seed {seed}"
    output.table(title, _COLUMNS, [_row(summary) for summary in summed])
    output.say(_EXPLANATION if any(summary.bad for summary in summed) else _NONE_BAD)
    if keep is not None and keep.exists():
        first = min(keep.iterdir())
        output.say(f"what came out bad is in {keep}; to look at one: chromaseal verify {first}")
    judge(summed)


def _row(summary: Summary) -> tuple[object, ...]:
    return (
        summary.way.words,
        summary.tried,
        summary.bad,
        _told(summary.wrong),
        _told(summary.said),
    )


def _told(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{number} x {text}" for text, number in counts.items())


def judge(summed: list[Summary]) -> None:
    """Fail where chromaseal's own way did.

    Raises:
        Damaged: ``failed-verification``.
    """
    failed = [summary for summary in summed if summary.way.ours and summary.bad]
    if failed:
        told = "; ".join(
            f"{each.bad} of {counted(each.tried, 'trial')} of {each.way}" for each in failed
        )
        raise Damaged(
            f"chromaseal's own way came out bad: {told}",
            kind="failed-verification",
            hint="run it again with --json, and report what it prints",
        )
