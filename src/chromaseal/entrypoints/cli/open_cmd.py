"""chromaseal open: a private, verified copy for any stock chromadb client."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from chromaseal.composition.mount import open_copy_from_mount
from chromaseal.entrypoints.cli.options import (
    AtOption,
    CollectionArgument,
    JsonOption,
    LedgerOption,
    VaultOption,
    open_for,
)
from chromaseal.entrypoints.cli.output import Output, size
from chromaseal.errors import UsageError
from chromaseal.snapshot.manifest import Version


def open_copy(
    collection: CollectionArgument,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to; must not exist or be empty.")
    ],
    at: AtOption = "",
    from_mount: Annotated[
        Path | None,
        typer.Option(
            "--from-mount",
            metavar="MOUNT",
            help="Copy from there what `chromaseal sync` has brought, without any vault; "
            "--at is a number or an id then.",
        ),
    ] = None,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a private, verified copy of a version, to open with chromadb.PersistentClient.

    Example: [bold]chromaseal open lines ./lines-copy[/]
    """
    output = Output.of(as_json=as_json)
    with _source(collection, from_mount, vault, ledger) as copy, output.steps() as show:
        version = copy(
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


@contextlib.contextmanager
def _source(
    collection: str, mount: Path | None, vault: str, ledger: str
) -> Iterator[Callable[..., Version]]:
    """Give what makes the copy: a vault, or a mount, to which no vault is needed."""
    if mount is None:
        with open_for(collection, vault, ledger) as opened:
            yield opened.open_copy
        return
    if vault or ledger:
        raise UsageError(
            f"{mount} is read without any vault",
            hint="leave out --from-mount, or --vault and --ledger",
        )
    yield functools.partial(open_copy_from_mount, mount)
