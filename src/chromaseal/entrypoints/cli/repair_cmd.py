"""chromaseal repair: a broken directory or newest version -> a sound one, same records."""

from __future__ import annotations

import functools
from typing import Annotated

import typer

from chromaseal.composition.directories import repair_directory
from chromaseal.entrypoints.cli.options import (
    JsonOption,
    LedgerOption,
    VaultOption,
    complain_of_mirror,
    open_for,
)
from chromaseal.entrypoints.cli.output import Output, counted
from chromaseal.entrypoints.cli.verify_cmd import is_directory
from chromaseal.repair.collection import Repaired
from chromaseal.snapshot.version_id import parse


def repair(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DIR|COLLECTION", help="A ChromaDB directory, or a collection in the vault."
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make and prove it all, but change nothing.")
    ] = False,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a damaged directory, or a collection's newest version, sound again.

    Everything must have a source: a directory is made again from its own parts, a version from
    what this machine keeps of it or from an older one and the deltas that came after it. What
    comes out is looked at deeply. The damaged directory is kept beside the repaired one; a
    version is published as the next one.

    Example: [bold]chromaseal repair ./chroma --dry-run[/]
    """
    output = Output.of(as_json=as_json)
    if is_directory(target):
        _repair_directory(output, target, dry_run=dry_run)
    else:
        _repair_collection(output, target, vault, ledger, dry_run=dry_run)
    if dry_run:
        output.say("nothing was changed (--dry-run)")


def _repair_directory(output: Output, directory: str, *, dry_run: bool) -> None:
    with output.steps() as show:
        repaired = repair_directory(
            directory, dry_run=dry_run, progress=functools.partial(show, "")
        )
    output.record(
        "repaired-directory",
        directory=directory,
        problem=repaired.problem,
        sources=list(repaired.sources),
        records=repaired.records,
        dry_run=dry_run,
        kept=str(repaired.kept) if repaired.kept else None,
    )
    records = counted(repaired.records, "record")
    if not repaired.problem:
        output.say(f"{directory} is whole: every check holds, {records}")
        if repaired.kept:
            output.say(f"an earlier repair had made it; the damaged one is now {repaired.kept}")
        return
    output.say(f"{directory} was damaged: {repaired.problem}")
    for source in repaired.sources:
        output.say(f"made again from {source}")
    output.say(f"every check of a deep look holds: {records}")
    if repaired.kept:
        output.say(f"the damaged directory is now {repaired.kept}")


def _repair_collection(
    output: Output, collection: str, vault: str, ledger: str, *, dry_run: bool
) -> None:
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
        content_of=repaired.content_of,
        left_out=list(repaired.left_out),
        dry_run=dry_run,
        version=version.manifest.number if version else None,
        version_id=version.version_id if version else None,
        waiting=list(repaired.waiting),
        put_back=list(repaired.put_back),
    )
    _tell(output, repaired, dry_run=dry_run)
    complain_of_mirror(opened)


def _tell(output: Output, repaired: Repaired, *, dry_run: bool) -> None:
    name = repaired.collection
    for what in repaired.put_back:
        output.say(f"{'would be' if dry_run else 'was'} put back: {what}")
    if repaired.broken:
        _tell_content(output, repaired)
    elif not (repaired.put_back and dry_run):
        output.say(f"the newest version of {name} is whole: every digest and check holds")
    if repaired.version is not None:
        manifest = repaired.version.manifest
        records = counted(manifest.records.count, "record")
        again = ", whose number is used again" if _same_number(repaired) else ""
        output.say(f"published as version {manifest.number} of {name}{again}: {records}")
    if repaired.waiting:
        waiting = counted(len(repaired.waiting), "run")
        again = output.pastable(f"chromaseal compact {name}")
        output.say(f"{waiting} in no version: `{again}` merges them again")


def _same_number(repaired: Repaired) -> bool:
    number = repaired.version.manifest.number if repaired.version else 0
    return bool(repaired.broken) and parse(repaired.broken).number == number


def _tell_content(output: Output, repaired: Repaired) -> None:
    output.say(f"{repaired.broken} is broken: {repaired.problem}")
    if not repaired.left_out:
        output.say(f"its content was made again from {repaired.source}, and proved")
        return
    number = parse(repaired.broken).number
    runs = counted(len(repaired.left_out), "run")
    output.say(
        f"version {number} is given up: beside version {repaired.content_of} it had {runs} and "
        "nothing else, and their deltas are stored"
    )
    output.say(
        f"the content is that of version {repaired.content_of}, made again from "
        f"{repaired.source}, and proved; not in it, and waiting: {', '.join(repaired.left_out)}"
    )
