"""chromaseal pull and follow: versions become local directories."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Annotated

import typer

from chromaseal.entrypoints.cli.opening import open_when_there
from chromaseal.entrypoints.cli.options import (
    AtOption,
    CollectionArgument,
    IntervalOption,
    JsonOption,
    LedgerOption,
    VaultOption,
    open_for,
    open_here,
)
from chromaseal.entrypoints.cli.output import Output, counted, seconds, size
from chromaseal.errors import Unavailable
from chromaseal.vault import Vault


def pull(
    collection: CollectionArgument,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
    at: AtOption = "",
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the ChromaDB directory DIR, whatever is in it."),
    ] = False,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Bring a directory to a version, from nothing or from an older one.

    The new content takes the place of the old in one step. A directory whose records were
    changed since it was pulled is left alone.

    Example: [bold]chromaseal pull notes ./notes --at "2 hours ago"[/]
    """
    output = Output.of(as_json=as_json)
    with open_for(collection, vault, ledger) as opened, output.steps() as show:
        pulled = opened.pull(
            collection,
            directory,
            at=at,
            overwrite=overwrite,
            progress=functools.partial(show, collection, "fetch"),
        )
    manifest = pulled.version.manifest
    output.record(
        "pulled" if pulled.new else "unchanged",
        collection=collection,
        directory=str(directory.absolute()),
        version=manifest.number,
        version_id=pulled.version.version_id,
        records=manifest.records.count,
        size_bytes=manifest.size_bytes,
        durations_s=dict(pulled.durations_s),
    )
    state = "is now" if pulled.new else "was already"
    output.say(
        f"{directory} {state} version {manifest.number} of {collection}: "
        f"{counted(manifest.records.count, 'record')}, {size(manifest.size_bytes)}"
    )


def follow(
    collection: CollectionArgument,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where the copies are; DIR/current is the newest.")
    ],
    interval_s: IntervalOption = 1.0,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Keep a copy of the newest version and print each move; until Ctrl-C.

    Each version is a directory of its own; DIR/current leads to the newest. Older ones go when
    nobody has them open. Beside the newest two, a copy waits in which the next one needs only its
    changes. A store that does not answer yet is waited for, up to half a minute between two looks,
    for some minutes; once it has answered, for ever.

    Example: [bold]chromaseal follow notes ./notes[/]
    """
    output = Output.of(as_json=as_json)
    with open_when_there(output, lambda: open_here(vault, ledger)) as opened:
        output.say(f"following {collection} in {folder}; Ctrl-C ends it")
        _say_if_none(output, opened, collection)
        for moved in opened.follow(
            collection, folder, interval_s=interval_s, told=output.passed_over
        ):
            manifest = moved.version.manifest
            output.record(
                "moved",
                collection=collection,
                directory=str(moved.directory.absolute()),
                version=manifest.number,
                version_id=moved.version.version_id,
                records=manifest.records.count,
                duration_s=moved.duration_s,
            )
            output.say(
                f"{folder / 'current'} is now version {manifest.number}: "
                f"{counted(manifest.records.count, 'record')}, {seconds(moved.duration_s)}"
            )


def _say_if_none(output: Output, opened: Vault, collection: str) -> None:
    # Following goes on without a store that is away again.
    with contextlib.suppress(Unavailable):
        if opened.has_version(collection):
            return
        output.note(f"{collection} has no version yet; waiting for the first one")
        known = opened.collections()
        if known and collection not in known:
            output.note(f"  there are: {', '.join(known)}")
