"""chromaseal push and replicate: a ChromaDB directory becomes versions."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from chromaseal.entrypoints.cli.options import (
    CollectionArgument,
    IntervalOption,
    JsonOption,
    LedgerOption,
    VaultOption,
    complain_of_mirror,
    not_mirrored,
    open_here,
)
from chromaseal.entrypoints.cli.output import Output, counted, seconds, size
from chromaseal.replication.push import Pushed
from chromaseal.replication.replicate import Skipped
from chromaseal.seal.sealed import refuse_not_chromadb

DirectoryArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="What a chromadb.PersistentClient was opened on.")
]
ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="Publish it also where it was not made from the newest version, which it then "
        "replaces; older versions stay.",
    ),
]


def push(
    directory: DirectoryArgument,
    collection: CollectionArgument,
    replace: ReplaceOption = False,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Publish a ChromaDB directory as the next version; only its changed pages travel.

    No process may have the directory open; for one that an application writes, see replicate.
    COLLECTION is its name in the vault; of the ChromaDB collections in it there may be several,
    called as they like.

    Example: [bold]chromaseal push ./chroma notes[/]
    """
    output = Output.of(as_json=as_json)
    # A mistyped directory is to leave no new vault behind.
    refuse_not_chromadb(directory)
    with open_here(vault, ledger, create=True) as opened, output.steps() as show:
        pushed = opened.push(
            directory,
            collection,
            replace=replace,
            progress=functools.partial(show, collection),
        )
    _tell(output, collection, pushed)
    complain_of_mirror(opened)


def replicate(
    directory: DirectoryArgument,
    collection: CollectionArgument,
    interval_s: IntervalOption = 1.0,
    replace: ReplaceOption = False,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Publish a directory whenever the application that owns it has changed it; until Ctrl-C.

    The application goes on writing and is held back for milliseconds at a time. What does not
    pass verification is never published.

    Example: [bold]chromaseal replicate ./chroma notes[/]
    """
    output = Output.of(as_json=as_json)
    # A mistyped directory is to leave no new vault behind.
    refuse_not_chromadb(directory)
    with open_here(vault, ledger, create=True) as opened:
        output.say(f"watching {directory}; Ctrl-C ends it")
        for done in opened.replicate(directory, collection, interval_s=interval_s, replace=replace):
            if isinstance(done, Skipped):
                output.record("skipped", collection=collection, reason=done.reason)
                output.say(f"not published, trying again: {done.reason}")
                continue
            _tell(output, collection, done)
            if why := not_mirrored(opened):
                output.note(why)


def _tell(output: Output, collection: str, pushed: Pushed) -> None:
    manifest = pushed.version.manifest
    output.record(
        "pushed" if pushed.new else "unchanged",
        collection=collection,
        version=manifest.number,
        version_id=pushed.version.version_id,
        records=manifest.records.count,
        size_bytes=manifest.size_bytes,
        stored_bytes=pushed.stored_bytes,
        lost_races=pushed.lost_races,
        durations_s=dict(pushed.durations_s),
    )
    if not pushed.new:
        output.say(f"version {manifest.number} of {collection} has this content already")
        return
    output.say(
        f"version {manifest.number} of {collection}: {counted(manifest.records.count, 'record')}, "
        f"{size(manifest.size_bytes)}, {size(pushed.stored_bytes)} stored, "
        f"{counted(len(manifest.checks), 'check')} passed, "
        f"{seconds(sum(pushed.durations_s.values()))}"
    )
