"""chromaseal runs: the COMPACTION_RUNs and their states."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, TypeAlias

import typer

from chromaseal.clock import age_s
from chromaseal.entrypoints.cli.options import (
    Command,
    JsonOption,
    LedgerOption,
    VaultOption,
    open_here,
)
from chromaseal.entrypoints.cli.output import (
    Output,
    counted,
    in_short,
    moment,
    rough,
    short_ids,
    size,
)
from chromaseal.entrypoints.cli.trace_cmd import show_steps
from chromaseal.errors import ChromasealError, Damaged, Incomplete, Unavailable, UsageError
from chromaseal.receipts.trace import trace
from chromaseal.run.model import Run, RunState
from chromaseal.snapshot.version_id import parse
from chromaseal.vault import Vault

app = typer.Typer(help="The runs and their states.", no_args_is_help=True)

RunArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, or the beginning of it.")
]
RunsArgument: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="RUN", help="Ids of runs, or the beginnings of them.")
]


@app.command("list", cls=Command)
def list_runs(
    state: Annotated[
        str, typer.Option("--state", help="PENDING, MERGING, COMPLETED, FAILED or CANCELLED.")
    ] = "",
    collection: Annotated[str, typer.Option("--collection", help="Runs that change it.")] = "",
    limit: Annotated[int, typer.Option("-n", min=1, help="Runs at most.")] = 20,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """List runs, the newest first, with their age, how often merging was tried, and why they wait.

    Example: [bold]chromaseal runs list --state FAILED[/]
    """
    output = Output.of(as_json=as_json)
    with open_here(vault, ledger) as opened:
        runs = opened.parts.ledger.newest(collection=collection, state=_state(state), limit=limit)
        now = opened.parts.clock.now()
        if collection and not runs:
            opened.refuse_unknown([collection])
    for run in runs:
        output.record("run", **_plain(run, now))
    names = sorted({name for run in runs for name in run.parts})
    ids = short_ids([run.run_id for run in runs])
    output.table(
        "Runs",
        ["run", "created (UTC)", "age", "what", *names, "attempts", "why"],
        [_row(run, ids[run.run_id], names, now) for run in runs],
    )


@app.command("show", cls=Command)
def show_run(
    run_id: RunArgument,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of one run: states, deltas, the versions that have it, every step.

    Example: [bold]chromaseal runs show 0b1c5a52[/]
    """
    output = Output.of(as_json=as_json)
    with open_here(vault, ledger) as opened:
        run, now = opened.run(run_id), opened.parts.clock.now()
        try:
            versions = opened.versions_with(run)
            steps = list(trace(opened, run))
        except Damaged as error:
            # What the ledger knows is to be seen all the same.
            versions, steps = {}, []
            output.note(f"its versions cannot be read: {error.message}")
    output.record("run", **_plain(run, now), versions=versions)
    output.say(
        f"run {run.run_id}, written {moment(run.created_at)} UTC, "
        f"{rough(age_s(run.created_at, now))} ago"
    )
    output.table("Parts", _PART_COLUMNS, _part_rows(run, versions, now))
    for key, value in run.attributes.items():
        output.say(f"{key}: {value}")
    show_steps(output, run, steps)


@app.command("retry", cls=Command)
def retry_run(
    run_id: RunArgument,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put the failed and cancelled parts of a run back, for the next compaction.

    Example: [bold]chromaseal runs retry 0b1c5a52-8f0e-5d5b-9a3e-0c9f5f6c7b11[/]
    """
    output = Output.of(as_json=as_json)
    with open_here(vault, ledger) as opened:
        waiting = opened.retry(opened.run(run_id).run_id)
    output.record("retry", run_id=run_id, collections=waiting)
    if waiting:
        again = output.pastable("chromaseal compact")
        output.say(f"waits again: {', '.join(waiting)}; now: {again}")
    else:
        output.say("no part of the run has failed or was cancelled; nothing to put back")


@app.command("cancel", cls=Command)
def cancel_runs(
    run_ids: RunsArgument,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take runs off the list without their being merged, whether they wait or have failed.

    A compactor that holds such a run begins again without it. What a version contains stays there,
    and is said. The deltas stay, and `chromaseal runs retry` puts a run back.

    Example: [bold]chromaseal runs cancel 0b1c5a52 4f7d21c8[/]
    """
    output = Output.of(as_json=as_json)
    failed: dict[str, ChromasealError] = {}
    with open_here(vault, ledger) as opened:
        for run_id in run_ids:
            try:
                _cancel(opened, run_id, output)
            except Unavailable:
                raise
            except ChromasealError as error:
                if len(run_ids) == 1:
                    raise
                failed[run_id] = error
                output.record("not-cancelled", run_id=run_id, **error.as_json())
                output.note(f"{run_id}: {error.message}")
    if failed:
        raise Incomplete(
            f"{len(failed)} of {counted(len(run_ids), 'run')} could not be cancelled: "
            + ", ".join(failed),
            kind="not-all-cancelled",
            hint=next(iter(failed.values())).hint,
        )


def _cancel(opened: Vault, run_id: str, output: Output) -> None:
    done = opened.cancel(opened.run(run_id).run_id)
    output.record(
        "cancelled",
        run_id=done.run_id,
        collections=list(done.cancelled),
        contained=dict(done.contained),
    )
    stays = [f"{name} has it in version {_number(i)}" for name, i in done.contained.items()]
    output.say("; ".join([f"{done.run_id} is cancelled for {', '.join(done.cancelled)}", *stays]))


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


def _plain(run: Run, now: dt.datetime) -> dict[str, object]:
    return {**asdict(run), "age_s": age_s(run.created_at, now)}


def _row(run: Run, shown_id: str, collections: Sequence[str], now: dt.datetime) -> list[object]:
    parts = [run.parts.get(name) for name in collections]
    there = [part for part in parts if part is not None]
    return [
        shown_id,
        moment(run.created_at),
        rough(age_s(run.created_at, now)),
        run.attributes.get("source_name", ""),
        *(part.state.value if part else "" for part in parts),
        max((part.attempts for part in there), default=0),
        "; ".join(dict.fromkeys(in_short(part.error) for part in there if part.error)),
    ]


_PART_COLUMNS = (
    *("collection", "state", "since", "changes", "size", "attempts"),
    *("version", "delta", "why"),
)


def _part_rows(run: Run, versions: dict[str, str], now: dt.datetime) -> list[list[object]]:
    return [
        [
            name,
            part.state.value,
            rough(age_s(part.finished_at or part.started_at or run.created_at, now)),
            part.changes,
            size(part.size_bytes),
            part.attempts,
            _number(versions[name]) if name in versions else "",
            part.delta_key,
            part.error,
        ]
        for name, part in run.parts.items()
    ]


def _number(version_id: str) -> int:
    return parse(version_id).number
