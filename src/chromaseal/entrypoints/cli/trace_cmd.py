"""chromaseal trace: every step that one image, run or record went through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from chromaseal.entrypoints.cli.options import JsonOption, LedgerOption, VaultOption, open_here
from chromaseal.entrypoints.cli.output import Output, moment, seconds, size
from chromaseal.receipts.trace import runs_of
from chromaseal.receipts.trace import trace as steps_of
from chromaseal.run.model import Run
from chromaseal.trace import TraceStep


def trace(
    name: Annotated[
        str, typer.Argument(metavar="RUN|IMAGE|RECORD", help="A run's, image's or record's id.")
    ],
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Tell every step from an image to the version, with times, sizes, digests and checks.

    Example: [bold]chromaseal trace 'IMAGE#8f0e...#RECEIPT#00001#LINE#00004'[/]
    """
    output = Output.of(as_json=as_json)
    with open_here(vault, ledger) as opened:
        for run in runs_of(opened, name):
            show_steps(output, run, list(steps_of(opened, run)))


def show_steps(output: Output, run: Run, steps: Sequence[TraceStep]) -> None:
    """Show what happened to a run."""
    for step in steps:
        output.record("step", run_id=run.run_id, **asdict(step))
    output.table(
        f"Run {run.run_id}",
        ["step", "at (UTC)", "took", "size", "digest", "what"],
        [
            [
                step.step,
                moment(step.at),
                seconds(step.duration_s),
                size(step.size_bytes),
                step.digest[:12],
                step.detail,
            ]
            for step in steps
        ],
    )
