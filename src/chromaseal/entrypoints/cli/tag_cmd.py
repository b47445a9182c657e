"""chromaseal tag, untag and rollback: names for versions, and the way back to one."""

from __future__ import annotations

import functools
from typing import Annotated

import typer

from chromaseal.entrypoints.cli.options import (
    AtOption,
    CollectionArgument,
    JsonOption,
    LedgerOption,
    VaultOption,
    VersionArgument,
    complain_of_mirror,
    open_for,
)
from chromaseal.entrypoints.cli.output import Output, counted, size

NameArgument = Annotated[str, typer.Argument(help="Letters, digits, dashes and underscores.")]


def tag(
    collection: CollectionArgument,
    name: NameArgument,
    at: AtOption = "",
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a version a name, the newest one by default; gc never removes it.

    Example: [bold]chromaseal tag notes before-import[/]
    """
    output = Output.of(as_json=as_json)
    with open_for(collection, vault, ledger) as opened:
        version = opened.tag(collection, name, at=at)
    number = version.manifest.number
    output.record(
        "tagged", collection=collection, tag=name, version=number, version_id=version.version_id
    )
    output.say(f"{name} is version {number} of {collection}")


def untag(
    collection: CollectionArgument,
    name: NameArgument,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a version's name away; the version stays until gc removes it.

    Example: [bold]chromaseal untag notes before-import[/]
    """
    output = Output.of(as_json=as_json)
    with open_for(collection, vault, ledger) as opened:
        opened.untag(collection, name)
    output.record("untagged", collection=collection, tag=name)
    output.say(f"{name} is no tag of {collection} any more")


def rollback(
    collection: CollectionArgument,
    at: VersionArgument,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Publish an older version's content as the next version; nothing is lost.

    Runs that were merged since then count as merged and are not merged again.

    Example: [bold]chromaseal rollback notes before-import[/]
    """
    output = Output.of(as_json=as_json)
    with open_for(collection, vault, ledger) as opened, output.steps() as show:
        done = opened.rollback(collection, at, progress=functools.partial(show, collection))
    manifest = done.version.manifest
    output.record(
        "rolled-back",
        collection=collection,
        version=manifest.number,
        version_id=done.version.version_id,
        restores=manifest.restores,
        records=manifest.records.count,
        stored_bytes=done.stored_bytes,
    )
    stored = f"{size(done.stored_bytes)} stored" if done.new else "nothing was left to publish"
    output.say(
        f"version {manifest.number} of {collection} has the content of version "
        f"{manifest.restores}: {counted(manifest.records.count, 'record')}, {stored}"
    )
    complain_of_mirror(opened)
