"""The commands put together, and what happens to their errors.

Nothing heavy is imported with this module: ``main`` has to be there before the commands are, so
that Ctrl-C is answered from the beginning.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chromaseal.entrypoints.cli.second_signal import end_at_second_signal
from chromaseal.errors import ChromasealError, Conflict, Interrupted, Unavailable, UsageError

if TYPE_CHECKING:
    import typer

    from chromaseal.entrypoints.cli.output import Output

# The commands by the panel of the help in which they stand, and the place of each.
_PANELS: Final = {
    "Any ChromaDB directory": {
        "push": "push_cmd:push",
        "pull": "pull_cmd:pull",
        "replicate": "push_cmd:replicate",
        "follow": "pull_cmd:follow",
        "sync": "sync_cmd:sync",
        "log": "log_cmd:log",
        "show": "log_cmd:show",
        "diff": "log_cmd:diff",
        "open": "open_cmd:open_copy",
        "tag": "tag_cmd:tag",
        "untag": "tag_cmd:untag",
        "rollback": "tag_cmd:rollback",
        "gc": "gc_cmd:gc",
        "stats": "gc_cmd:stats",
    },
    "Beside the pipeline that was there before": {
        "import": "legacy_cmd:import_all",
        "export": "legacy_cmd:export",
    },
    "What is wrong, and why": {
        "verify": "verify_cmd:verify",
        "doctor": "doctor_cmd:doctor",
        "repair": "repair_cmd:repair",
        "salvage": "salvage_cmd:salvage",
        "locks": "locks_cmd:locks",
        "reproduce": "reproduce_cmd:reproduce",
    },
    "Receipts": {
        "ingest": "ingest_cmd:ingest",
        "compact": "compact_cmd:compact",
        "worker": "worker_cmd:worker",
        "watch": "watch_cmd:watch",
        "search": "search_cmd:search",
        "trace": "trace_cmd:trace",
        "runs": "runs_cmd:app",
    },
    "On AWS": {
        "aws": "aws_cmd:app",
    },
}
# What Ctrl-C ends as it is meant to end.
_ENDLESS: Final = {"replicate", "follow", "worker", "watch"}
# What these have done so far is of no use to anybody.
_ONLY_LOOKING = {
    *("verify", "doctor", "locks", "log", "show", "diff", "stats", "search", "trace"),
    *("reproduce", "salvage"),
}
_HELP: Final = ("-h", "--help")
_STOPPING = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Run the command line; errors become a message and an exit code per kind."""
    # Docker and systemd stop with SIGTERM what people stop with Ctrl-C. Both wait for the imports:
    # a module that was imported by half could not even tell that it was interrupted.
    _replace_closed_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    end_at_second_signal()
    app = commands(_called())
    from chromaseal.entrypoints.cli.output import Output, discard_output  # noqa: PLC0415

    output = Output.of(as_json="--json" in sys.argv)
    exit_code = 0
    try:
        exit_code = _run(app, output)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # Whoever read the output has seen enough. Typer and rich make an exit of that.
        discard_output()
        exit_code = 0
    except OSError as error:
        discard_output()
        if not exit_code:
            # Where the answer cannot be written, its error cannot be either.
            told = _system_error(error)
            Output.of(as_json=False).error(told)
            exit_code = told.exit_code
    sys.exit(exit_code)


def _replace_closed_streams() -> None:
    """Have something to write to where the caller has closed standard output or error."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
            setattr(sys, name, nowhere)


def commands(only: str = "") -> typer.Typer:
    """Put the commands together: all of them, or the one that is called, which is sooner there."""
    import typer  # noqa: PLC0415

    from chromaseal.entrypoints.cli.options import Command, whole_program  # noqa: PLC0415

    app = typer.Typer(
        name="chromaseal",
        callback=whole_program,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": [*_HELP]},
    )
    for panel, members in _PANELS.items():
        for name, place in members.items():
            if only not in {"", name}:
                continue
            command = _imported(place)
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=name, rich_help_panel=panel)
            else:
                called = _until_stopped(command) if name in _ENDLESS else command
                app.command(name, cls=Command, rich_help_panel=panel)(called)
    return app


def _called() -> str:
    """Name the command that the command line calls; nothing where only all commands can tell."""
    before = list(itertools.takewhile(lambda word: word.startswith("-"), sys.argv[1:]))
    word = next(iter(sys.argv[1 + len(before) :]), "")
    is_command = any(word in members for members in _PANELS.values())
    # What is asked for before the command is the help of the whole program.
    return word if is_command and not any(option in _HELP for option in before) else ""


def _imported(place: str) -> Any:  # noqa: ANN401 - a command, or the commands of a group
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"chromaseal.entrypoints.cli.{module}"), name)


def _run(app: typer.Typer, output: Output) -> int:
    """Run what the command line says; give its exit code."""
    import typer  # noqa: PLC0415

    # typer has no public name for all that can be wrong with a call, but for one of its kinds.
    wrong_call = typer.BadParameter.__mro__[1]
    told: ChromasealError
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        with contextlib.ExitStack() as watching:
            exit_code = int(app(standalone_mode=False, obj=watching) or 0)
        if exit_code != Interrupted.exit_code:
            return exit_code
        # What typer makes of a KeyboardInterrupt.
        return _end_interrupted(output)
    except KeyboardInterrupt:
        return _end_interrupted(output)
    except ChromasealError as error:
        told = error
    except OSError as error:
        told = _system_error(error)
    except Exception as error:
        if not isinstance(error, wrong_call):
            raise
        wrong: Any = error
        if not output.as_json:
            from typer.rich_utils import rich_format_error  # noqa: PLC0415

            rich_format_error(wrong)
            return UsageError.exit_code
        path = wrong.ctx.command_path if wrong.ctx else "chromaseal"
        told = UsageError(wrong.format_message(), hint=f"{path} --help")
    output.error(told)
    return told.exit_code


def _end_interrupted(output: Output) -> int:
    """Say that the command was stopped; give the exit code."""
    if _called() in _ENDLESS:
        # It came before the command had begun.
        _say_stopped(output)
        return 0
    told = _interrupted()
    output.error(told)
    return told.exit_code


def _say_stopped(output: Output) -> None:
    output.record("stopped")
    output.say("stopped")


def _interrupted() -> Interrupted:
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    rebuilds = {"--rebuild-ledger", "--rebuild-pin"} & set(sys.argv)
    if command in _ONLY_LOOKING and not rebuilds:
        return Interrupted(
            "it was stopped before its end, and has stored nothing",
            kind="interrupted",
            hint="run the same command again; it begins anew",
        )
    return Interrupted(
        "everything that was reported as done is stored",
        kind="interrupted",
        hint="run the same command again to go on",
    )


def _system_error(error: OSError) -> ChromasealError:
    """Say what the operating system refused, and whether that was the cache."""
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    what = (error.strerror or str(error)) + (f": {place}" if place else "")
    cache = _cache()
    if place and cache is not None and _is_of(cache, Path(place)):
        return Conflict(
            f"the cache {cache} cannot be used: {what}",
            kind="cannot-write",
            hint="check permissions and free space, or name another place with CHROMASEAL_CACHE",
        )
    return Unavailable(
        f"the operating system refused something: {what}",
        kind="system-error",
        hint="check path, permissions and free space, then run the same command again",
    )


def _cache() -> Path | None:
    from chromaseal.composition.engine import settings_here  # noqa: PLC0415

    # What settings are read from may be the very thing that was refused.
    with contextlib.suppress(OSError, ChromasealError):
        return settings_here().cache
    return None


def _is_of(cache: Path, place: Path) -> bool:
    if place.is_relative_to(cache):
        return True
    # A missing folder above the cache is made for it alone; this question never raises.
    return cache.is_relative_to(place) and not os.path.isdir(place)  # noqa: PTH112


def _until_stopped(command: Callable[..., None]) -> Callable[..., None]:
    """Make Ctrl-C the normal end of a command that has no other."""
    from chromaseal.entrypoints.cli.output import Output  # noqa: PLC0415

    @functools.wraps(command)
    def run(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - the command's own
        try:
            command(as_json=as_json, **options)
        except KeyboardInterrupt:
            _say_stopped(Output.of(as_json=as_json))

    return run


def __getattr__(name: str) -> typer.Typer:
    if name == "app":
        return commands()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
