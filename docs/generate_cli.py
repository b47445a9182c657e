"""Write ``docs/cli.md`` from the commands themselves: ``python docs/generate_cli.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from chromaseal.entrypoints.cli.app import app

PLACE = Path(__file__).with_name("cli.md")
_HEAD = """\
# The command line

Written by `docs/generate_cli.py` from the commands themselves; `--help` says the same.

Every command that works on a vault takes `--vault` and `--ledger`; all take `--json`, for programs.
Errors end with an exit code of their own: see [errors.md](errors.md). `chromaseal --version` shows
the releases of chromaseal and ChromaDB; `chromaseal -v COMMAND` tells on standard error what
happens: see [telemetry.md](telemetry.md).
"""
_MARKUP = re.compile(r"\[/?(?:bold|dim)?\]")
_EXAMPLE = re.compile(r"^\s*Example:\s*(.+)$", re.MULTILINE)


def commands() -> Iterator[tuple[str, Any]]:
    """Give every command that does something, with its full name.

    Commands are typer's own objects, of a class that is not part of its interface.
    """
    yield from _below(typer.main.get_command(app), "chromaseal")


def _below(group: Any, path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - see commands
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _below(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def plain_help(command: Any) -> str:  # noqa: ANN401 - see commands
    """Give a command's help without markup."""
    return _MARKUP.sub("", command.help or "")


def example(command: Any) -> str:  # noqa: ANN401 - see commands
    """Give a command's example; empty where it has none."""
    found = _EXAMPLE.search(plain_help(command))
    return found[1].strip() if found else ""


def is_argument(parameter: Any) -> bool:  # noqa: ANN401 - see commands
    """Whether a parameter goes by its place, not by a name with dashes."""
    return not parameter.opts[0].startswith("-")


def _description(command: Any) -> str:  # noqa: ANN401 - see commands
    text = _EXAMPLE.sub("", plain_help(command))
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n") if part.strip())


def _name(parameter: Any) -> str:  # noqa: ANN401 - see commands
    value = parameter.metavar or parameter.name.upper()
    if not is_argument(parameter):
        dashed = ", ".join([*parameter.opts, *parameter.secondary_opts])
        return dashed if parameter.is_flag else f"{dashed} {value}"
    several = "..." if parameter.nargs == -1 else ""
    return f"{value}{several}" if parameter.required else f"[{value}{several}]"


def _row(parameter: Any) -> str:  # noqa: ANN401 - see commands
    default = parameter.default
    shown = "" if default in (None, "", False) or callable(default) else f"`{default}`"
    text = " ".join((parameter.help or "").split())
    # A bar ends a cell even inside of backticks.
    cells = [cell.replace("|", r"\|") for cell in (f"`{_name(parameter)}`", text, shown)]
    return f"| {' | '.join(cells)} |"


def _section(name: str, command: Any) -> str:  # noqa: ANN401 - see commands
    parameters = [p for p in command.params if p.name != "help"]
    arguments = [_name(p) for p in parameters if is_argument(p)]
    rows = [_row(p) for p in parameters]
    return "\n\n".join(
        [
            f"## {name}",
            _description(command),
            f"    {' '.join([name, '[OPTIONS]', *arguments])}",
            "\n".join(["| parameter | meaning | default |", "| --- | --- | --- |", *rows]),
            f"Example:\n\n    {example(command)}",
        ]
    )


def reference() -> str:
    """Give the whole reference."""
    sections = [_section(name, command) for name, command in commands()]
    return "\n\n".join([_HEAD.rstrip(), *sections]) + "\n"


if __name__ == "__main__":
    PLACE.write_text(reference())
