"""The commands put together, and what happens to their errors."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as release_of
from typing import Annotated

import typer

from chromaseal.entrypoints.cli import (
    compact_cmd,
    gc_cmd,
    ingest_cmd,
    log_cmd,
    open_cmd,
    pull_cmd,
    push_cmd,
    runs_cmd,
    search_cmd,
    tag_cmd,
    trace_cmd,
)
from chromaseal.entrypoints.cli.output import Output
from chromaseal.errors import ChromasealError, Interrupted

app = typer.Typer(
    name="chromaseal",
    help="Receipt images in, verified and versioned ChromaDB snapshots out.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("ingest")(ingest_cmd.ingest)
app.command("compact")(compact_cmd.compact)
app.command("search")(search_cmd.search)
app.add_typer(runs_cmd.app, name="runs")
app.command("trace")(trace_cmd.trace)
app.command("log")(log_cmd.log)
app.command("show")(log_cmd.show)
app.command("diff")(log_cmd.diff)
app.command("open")(open_cmd.open_copy)
app.command("push")(push_cmd.push)
app.command("pull")(pull_cmd.pull)
app.command("replicate")(push_cmd.replicate)
app.command("follow")(pull_cmd.follow)
app.command("tag")(tag_cmd.tag)
app.command("untag")(tag_cmd.untag)
app.command("rollback")(tag_cmd.rollback)
app.command("gc")(gc_cmd.gc)
app.command("stats")(gc_cmd.stats)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chromaseal {release_of('chromaseal')}, chromadb {release_of('chromadb')}")
        raise typer.Exit


@app.callback()
def chromaseal(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show it and exit."),
    ] = False,
) -> None:
    """Receipt images in, verified and versioned ChromaDB snapshots out."""


def main() -> None:
    """Run the command line; errors become a message and an exit code per kind."""
    try:
        app()
    except ChromasealError as error:
        Output.of(as_json="--json" in sys.argv).error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        stopped = Interrupted(
            "interrupted; everything reported as done is stored",
            kind="interrupted",
            hint="run the same command again to go on",
        )
        Output.of(as_json="--json" in sys.argv).error(stopped)
        sys.exit(stopped.exit_code)
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
