"""chromaseal open: a private, verified copy for any stock chromadb client."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from chromaseal.entrypoints.cli.options import (
    AtOption,
    CollectionArgument,
    JsonOption,
    LedgerOption,
    VaultOption,
    open_for,
)
from chromaseal.entrypoints.cli.output import Output, size


def open_copy(
    collection: CollectionArgument,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to; must not exist or be empty.")
    ],
    at: AtOption = "",
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a private, verified copy of a version, to open with chromadb.PersistentClient.

    Example: [bold]chromaseal open lines ./lines-copy[/]
    """
    output = Output.of(as_json=as_json)
    with open_for(collection, vault, ledger) as opened, output.steps() as show:
        version = opened.open_copy(
            collection,
            directory,
            at=at,
            told=output.passed_over,
            progress=functools.partial(show, collection, "fetch"),
        )
    manifest = version.manifest
    output.record(
        "opened",
        collection=collection,
        directory=str(directory.absolute()),
        version=manifest.number,
        version_id=version.version_id,
        records=manifest.records.count,
        size_bytes=manifest.size_bytes,
        collections=[each.name for each in manifest.collections],
    )
    output.say(
        f"version {manifest.number} of {collection}: {manifest.records.count} records, "
        f"{size(manifest.size_bytes)}, every page checked"
    )
    output.say(f"  client = chromadb.PersistentClient({str(directory)!r})")
    for each in manifest.collections:
        output.say(f"  client.get_collection({each.name!r})")
