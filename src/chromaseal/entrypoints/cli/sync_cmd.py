"""chromaseal sync: the newest version on a file system that many machines share."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from chromaseal.entrypoints.cli.options import (
    CollectionArgument,
    JsonOption,
    LedgerOption,
    VaultOption,
    open_for,
)
from chromaseal.entrypoints.cli.output import Output, counted, size
from chromaseal.mount.sync import Synced


def sync(
    collection: CollectionArgument,
    mount: Annotated[
        Path, typer.Argument(metavar="MOUNT", help="A directory that many machines share.")
    ],
    keep: Annotated[
        int,
        typer.Option("--keep", metavar="COUNT", min=1, help="How many versions stay on it."),
    ] = 2,
    existing_readers: Annotated[
        bool,
        typer.Option(
            "--existing-readers",
            help="Let programs that know nothing of chromaseal find the version: "
            "MOUNT/snapshots/COLLECTION/VERSION.",
        ),
    ] = False,
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            min=0,
            help="How long to wait for another process that does the same.",
        ),
    ] = 900.0,
    links: Annotated[
        bool | None,
        typer.Option(
            "--links/--no-links",
            help="Whether unchanged files are hard links to those of older versions, or copies. "
            "By default links, where they hold, and not through FUSE.",
            show_default=False,
        ),
    ] = None,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Have the newest version on a shared file system, such as EFS or NFS.

    It appears whole, beside the older ones. Files that did not change are shared with those and
    cost nothing; what was written is said. Of many machines at once one does the work. Read it
    with [bold]chromaseal open COLLECTION DIR --from-mount MOUNT[/], which copies: opening ChromaDB
    is a write.

    Example: [bold]chromaseal sync lines /srv/chroma[/]
    """
    output = Output.of(as_json=as_json)
    with open_for(collection, vault, ledger) as opened, output.steps() as show:
        synced = opened.sync(
            collection,
            mount,
            keep=keep,
            existing_readers=existing_readers,
            wait_s=wait_s,
            links=links,
            progress=functools.partial(show, collection),
        )
    _tell(output, collection, mount, synced)


def _tell(output: Output, collection: str, mount: Path, synced: Synced) -> None:
    manifest = synced.version.manifest
    output.record(
        "synced" if synced.new else "unchanged",
        collection=collection,
        mount=str(mount.absolute()),
        directory=str(synced.directory),
        version=manifest.number,
        version_id=synced.version.version_id,
        records=manifest.records.count,
        size_bytes=manifest.size_bytes,
        written_bytes=synced.written_bytes,
        shared_bytes=synced.shared_bytes,
        removed=list(synced.removed),
        durations_s=dict(synced.durations_s),
    )
    state = "has" if synced.new else "had"
    output.say(
        f"{mount} {state} version {manifest.number} of {collection}: "
        f"{counted(manifest.records.count, 'record')}, {size(manifest.size_bytes)}; "
        f"wrote {size(synced.written_bytes)}, shared {size(synced.shared_bytes)}"
    )
    if synced.removed:
        output.say(f"  {counted(len(synced.removed), 'older version')} left it")
