"""chromaseal runs: the COMPACTION_RUNs and their states."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from chromaseal.entrypoints.cli.options import (
    Command,
    JsonOption,
    LedgerOption,
    VaultOption,
    open_here,
)
from chromaseal.entrypoints.cli.output import SHORT_ID, Output, moment, size
from chromaseal.errors import UsageError
from chromaseal.run.model import Run, RunState

app = typer.Typer(help="The runs and their states.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id.")]


@app.command("list", cls=Command)
def list_runs(
    state: Annotated[
        str, typer.Option("--state", help="PENDING, MERGING, COMPLETED or FAILED.")
    ] = "",
    collection: Annotated[str, typer.Option("--collection", help="Runs that change it.")] = "",
    limit: Annotated[int, typer.Option("-n", min=1, help="Runs at most.")] = 20,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """List runs, the newest first.

    Example: [bold]chromaseal runs list --state FAILED[/]
    """
    output = Output.of(as_json=as_json)
    with open_here(vault, ledger) as opened:
        runs = opened.parts.ledger.newest(collection=collection, state=_state(state), limit=limit)
    for run in runs:
        output.record("run", **asdict(run))
    output.table(
        "Runs",
        ["run", "created (UTC)", "what", *sorted({name for run in runs for name in run.parts})],
        [_row(run, sorted({name for each in runs for name in each.parts})) for run in runs],
    )


@app.command("show", cls=Command)
def show_run(
    run_id: RunArgument,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show one run.

    Example: [bold]chromaseal runs show 0b1c5a52-8f0e-5d5b-9a3e-0c9f5f6c7b11[/]
    """
    output = Output.of(as_json=as_json)
    with open_here(vault, ledger) as opened:
        run = opened.run(run_id)
    output.record("run", **asdict(run))
    output.table(
        f"Run {run.run_id}",
        ["collection", "state", "changes", "size", "attempts", "version", "why"],
        [
            [
                name,
                part.state,
                part.changes,
                size(part.size_bytes),
                part.attempts,
                part.version_id,
                part.error,
            ]
            for name, part in run.parts.items()
        ],
    )
    for key, value in run.attributes.items():
        output.say(f"{key}: {value}")


@app.command("retry", cls=Command)
def retry_run(
    run_id: RunArgument,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put the failed parts of a run back, for the next compaction.

    Example: [bold]chromaseal runs retry 0b1c5a52-8f0e-5d5b-9a3e-0c9f5f6c7b11[/]
    """
    output = Output.of(as_json=as_json)
    with open_here(vault, ledger) as opened:
        waiting = opened.retry(run_id)
    output.record("retry", run_id=run_id, collections=waiting)
    if waiting:
        again = output.pastable("chromaseal compact")
        output.say(f"waits again: {', '.join(waiting)}; now: {again}")
    else:
        output.say("no part of the run has failed; nothing to put back")


def _state(text: str) -> RunState | None:
    if not text:
        return None
    try:
        return RunState(text.upper())
    except ValueError:
        raise UsageError(
            f"{text!r} is no state of a run",
            kind="bad-state",
            hint="one of " + ", ".join(RunState),
        ) from None


def _row(run: Run, collections: list[str]) -> list[object]:
    what = run.attributes.get("source_name", "")
    states = [str(run.parts[name].state) if name in run.parts else "" for name in collections]
    return [run.run_id[:SHORT_ID], moment(run.created_at), what, *states]
