"""chromaseal repair: a broken newest version -> a new version with the same records."""

from __future__ import annotations

import functools
from typing import Annotated

import typer

from chromaseal.entrypoints.cli.options import (
    CollectionArgument,
    JsonOption,
    LedgerOption,
    VaultOption,
    open_for,
)
from chromaseal.entrypoints.cli.output import Output, counted
from chromaseal.repair.collection import Repaired


def repair(
    collection: CollectionArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make and prove it all, but change nothing.")
    ] = False,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make the newest version readable again, where its objects are lost or damaged.

    It is made from what this machine keeps of it, or from an older version and the deltas that
    came after it, must have exactly the same records, and is published as the next version.

    Example: [bold]chromaseal repair lines --dry-run[/]
    """
    output = Output.of(as_json=as_json)
    with open_for(collection, vault, ledger) as opened, output.steps() as show:
        repaired = opened.repair(
            collection, dry_run=dry_run, progress=functools.partial(show, collection)
        )
    version = repaired.version
    output.record(
        "repaired",
        collection=collection,
        broken=repaired.broken,
        problem=repaired.problem,
        source=repaired.source,
        dry_run=dry_run,
        version=version.manifest.number if version else None,
        version_id=version.version_id if version else None,
        waiting=list(repaired.waiting),
    )
    _tell(output, repaired, dry_run=dry_run)


def _tell(output: Output, repaired: Repaired, *, dry_run: bool) -> None:
    name = repaired.collection
    if not repaired.broken:
        output.say(f"the newest version of {name} is whole: every digest and check holds")
    else:
        output.say(f"{repaired.broken} is broken: {repaired.problem}")
        output.say(f"its content was made again from {repaired.source}, and proved")
    if repaired.version is not None:
        manifest = repaired.version.manifest
        records = counted(manifest.records.count, "record")
        output.say(f"published as version {manifest.number} of {name}: {records}")
    if repaired.waiting:
        waiting = counted(len(repaired.waiting), "run")
        output.say(f"{waiting} in no version: `chromaseal compact {name}` merges them again")
    if dry_run:
        output.say("nothing was changed (--dry-run)")
