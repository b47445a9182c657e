"""chromaseal salvage: a damaged directory -> all that can be read, and a list of what cannot."""

from __future__ import annotations

import functools
from typing import Annotated

import typer

from chromaseal.composition.directories import salvage_directory
from chromaseal.entrypoints.cli.options import JsonOption
from chromaseal.entrypoints.cli.output import Output, counted
from chromaseal.errors import Incomplete


def salvage(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="A damaged ChromaDB directory; it is only read.")
    ],
    out: Annotated[
        str,
        typer.Argument(metavar="OUT", help="A new directory; the list is OUT.missing.jsonl."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Bring everything readable out of a directory that nothing can repair.

    OUT is a sound ChromaDB directory with every record of which no part is lost. The list has a
    line for each record that is lost or in doubt, with the reason and with what is left of it;
    if it has any, the exit code is 9.

    Example: [bold]chromaseal salvage ./chroma ./salvaged[/]
    """
    output = Output.of(as_json=as_json)
    with output.steps() as show:
        salvaged = salvage_directory(directory, out, progress=functools.partial(show, ""))
    output.record(
        "salvaged",
        directory=directory,
        out=out,
        collections=list(salvaged.collections),
        missing=salvaged.missing,
        list=str(salvaged.list_path),
    )
    output.table(
        out,
        ["collection", "records", "lost", "in doubt", "made from"],
        [
            [
                each["name"],
                str(each["count"]),
                str(each["lost"]),
                str(each["doubtful"]),
                ", ".join(each["sources"]),
            ]
            for each in salvaged.collections
        ],
    )
    lines = counted(salvaged.missing, "line")
    output.say(f"{salvaged.list_path} says what is missing or in doubt: {lines}")
    if salvaged.missing:
        raise Incomplete(
            f"not everything of {directory} could be brought to {out}, or believed: {lines} in "
            f"{salvaged.list_path}",
            kind="salvaged-in-part",
            hint="the list says for each record what is lost or in doubt, and why",
        )
