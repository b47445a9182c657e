"""chromaseal import and export: the existing receipts pipeline's layout, taken over and written."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

from chromaseal.composition.engine import settings_here
from chromaseal.composition.legacy import (
    export_one,
    import_one,
    merged_runs,
    open_legacy,
    waiting_runs,
)
from chromaseal.entrypoints.cli.options import (
    JsonOption,
    LedgerOption,
    VaultOption,
    complain_of_mirror,
    open_for,
    open_here,
    refuse_path,
)
from chromaseal.entrypoints.cli.output import Output, counted, size
from chromaseal.errors import ChromasealError, Incomplete, NotFound, Unavailable, UsageError
from chromaseal.ids import SystemIds
from chromaseal.legacy.adoption import adopt_runs, check_runs, directories_of
from chromaseal.legacy.bucket import OTHER, LegacyBucket
from chromaseal.legacy.deltas import MISSING, REFUSED, Adopted
from chromaseal.legacy.importing import ImportedSnapshot
from chromaseal.settings import Settings, is_dynamodb
from chromaseal.snapshot.manifest import Version
from chromaseal.vault import Vault


class Layout(StrEnum):
    """How objects are laid out in somebody else's bucket."""

    LEGACY = "legacy"


LayoutOption: TypeAlias = Annotated[
    Layout,
    typer.Option("--layout", help="That of the receipts pipeline which chromaseal replaces."),
]


SourceOption: TypeAlias = Annotated[
    str, typer.Option("--from", metavar="URL", help="The bucket: s3://bucket, or a copy of one.")
]
CollectionsArgument: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="COLLECTION", help="Which ones; all that the bucket has by default."),
]
SnapshotOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="SNAPSHOT",
        help="A snapshot's id. Default: the one that the pointer names.",
    ),
]
ReplaceOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--replace", help="Publish it also where the collection has other versions; they stay."
    ),
]
DeltasOption: TypeAlias = Annotated[
    bool, typer.Option("--deltas/--no-deltas", help="Take deltas that wait over as waiting runs.")
]


def import_all(
    ctx: typer.Context,
    source: SourceOption,
    collections: CollectionsArgument = None,
    layout: LayoutOption = Layout.LEGACY,
    at: SnapshotOption = "",
    replace: ReplaceOption = False,
    deltas: DeltasOption = True,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take over a bucket of the existing pipeline: snapshots become versions, deltas runs.

    Stop the pipeline's compactor first; producers may go on where the ledger is the pipeline's
    table. Each snapshot is looked at deeply, and made again from itself where it is damaged; what
    has no source is named. Nothing in the bucket is changed, and a second import publishes
    nothing new.

    Example: [bold]chromaseal import --from s3://old-bucket --vault s3://bucket/vault[/]
    """
    del layout
    output, settings = Output.of(as_json=as_json), settings_here(vault=vault, ledger=ledger)
    named = [refuse_path(ctx, name) for name in collections or []]
    if at and len(named) != 1:
        raise UsageError("--at names a snapshot of one collection", hint="name the collection")
    # A mistyped bucket is to leave no new vault behind.
    bucket = open_legacy(source, SystemIds())
    there = bucket.collections()
    names = named or there
    if absent := sorted(set(named) - set(there)):
        raise NotFound(
            f"{bucket.url} has neither snapshots nor deltas of {', '.join(absent)}",
            kind="nothing-to-import",
            hint="there are: " + (", ".join(there) or "none"),
        )
    if not names:
        raise NotFound(
            f"{bucket.url} has neither snapshots nor deltas",
            kind="nothing-to-import",
            hint="name the bucket itself, in which each collection has a folder",
        )
    with open_here(vault, ledger, create=True) as opened:
        imported, refused = _snapshots(output, opened, bucket, names, at, replace=replace)
        failed = list(refused.values())
        # Of one that cannot be taken over an older snapshot may have been, before.
        if deltas and all(opened.has_version(name) for name in refused):
            versions = [each.version for each in imported] + list(map(opened.version, refused))
            failed += _runs(output, opened, bucket, settings, names, versions)
    _complain(failed)
    complain_of_mirror(opened)


def _snapshots(
    output: Output,
    opened: Vault,
    bucket: LegacyBucket,
    names: Sequence[str],
    at: str,
    *,
    replace: bool,
) -> tuple[list[ImportedSnapshot], dict[str, ChromasealError]]:
    found: list[ImportedSnapshot] = []
    failed: dict[str, ChromasealError] = {}
    for name in names:
        try:
            with output.steps() as show:
                imported = import_one(
                    opened,
                    bucket,
                    name,
                    at=at,
                    replace=replace,
                    progress=functools.partial(show, name),
                )
        except Unavailable:
            raise
        except ChromasealError as error:
            if len(names) == 1:
                raise
            # One damaged collection stops no other.
            failed[name] = error
            output.record("not-imported", collection=name, **error.as_json())
            output.say(f"{name}: not imported: {error.message}")
            continue
        if imported is None:
            output.record("no-snapshot", collection=name)
            output.say(f"{name} has no pointer, and so no snapshot")
        else:
            _tell_snapshot(output, imported)
            found.append(imported)
    return found, failed


def _runs(
    output: Output,
    opened: Vault,
    bucket: LegacyBucket,
    settings: Settings,
    names: Sequence[str],
    versions: Sequence[Version],
) -> list[ChromasealError]:
    """Take over what waits, and look whether the snapshots have what should be in them."""
    runs, doubtful = waiting_runs(bucket, settings, opened)
    left = [run.run_id for run in runs if not run.prefixes.keys() <= set(names)]
    runs = [run for run in runs if run.run_id not in left]
    merged = merged_runs(settings, opened)
    total, done = len(runs) + len(merged), list[Adopted]()
    with directories_of(opened.parts, versions) as directories, output.steps() as show:
        # Where a table says what waits, nothing has to be concluded from what is there.
        merged_into = {} if is_dynamodb(settings.ledger) else directories
        for each in adopt_runs(opened.parts, bucket, runs, merged_into=merged_into):
            done.append(each)
            show("runs", "take over", len(done), total)
        done += check_runs(opened.parts, bucket, merged, directories)
    return _tell_runs(output, done, doubtful, left)


def _tell_snapshot(output: Output, imported: ImportedSnapshot) -> None:
    manifest, fetched, repaired = imported.version.manifest, imported.fetched, imported.repaired
    output.record(
        "imported" if imported.new else "unchanged",
        collection=imported.collection,
        snapshot=imported.snapshot_id,
        form=fetched.form,
        hash=fetched.hash,
        files=fetched.files,
        fetched_bytes=fetched.size_bytes,
        problem=repaired.problem,
        sources=list(repaired.sources),
        version=manifest.number,
        version_id=imported.version.version_id,
        records=manifest.records.count,
    )
    name = imported.collection
    if fetched.hash == OTHER:
        output.say(f"{name}: the hash beside snapshot {imported.snapshot_id} is of other bytes")
    if repaired.problem:
        output.say(f"{name}: snapshot {imported.snapshot_id} was damaged: {repaired.problem}")
        for source in repaired.sources:
            output.say(f"made again from {source}")
    what = "is" if imported.new else "was already"
    output.say(
        f"{name}: snapshot {imported.snapshot_id} {what} version {manifest.number}: "
        f"{counted(manifest.records.count, 'record')}, {size(manifest.size_bytes)}"
    )


def _tell_runs(
    output: Output, done: Sequence[Adopted], doubtful: Sequence[str], left: Sequence[str]
) -> list[ChromasealError]:
    for each in done:
        why = each.error.as_json() if each.error else {}
        output.record(
            "run", run_id=each.run_id, status=each.status, records=dict(each.records), **why
        )
        if each.status == REFUSED and each.error:
            output.say(f"run {each.run_id} was not taken over: {each.error.message}")
        if each.status == MISSING:
            output.say(
                f"run {each.run_id} is COMPLETED in the table, and the snapshot has not all of "
                f"its records: {', '.join(each.records)}; was its receipt deleted since?"
            )
    for run_id in doubtful:
        output.record("run", run_id=run_id, status="doubtful")
        output.say(f"run {run_id} has several deltas for a collection: which counts nobody knows")
    for run_id in left:
        output.record("run", run_id=run_id, status="left")
        output.say(f"run {run_id} is of other collections too: import them together")
    adopted = sum(each.status == "adopted" for each in done)
    if done or doubtful or left:
        output.say(f"{counted(adopted, 'run')} taken over; `chromaseal compact` merges them")
    return [each.error for each in done if each.error]


def _complain(failed: Sequence[ChromasealError]) -> None:
    if failed:
        raise Incomplete(
            f"{counted(len(failed), 'thing')} could not be taken over, the first: "
            f"{failed[0].message}",
            kind="not-all-imported",
            hint=f"all else was taken over; {failed[0].hint or 'run the same command again'}",
        )


def export(
    ctx: typer.Context,
    wanted: Annotated[
        str,
        typer.Argument(
            metavar="COLLECTION[@VERSION]",
            help="Which, and a version's number, id, tag or time; the newest by default.",
        ),
    ],
    target: Annotated[
        str, typer.Option("--to", metavar="URL", help="The bucket: s3://bucket, or a directory.")
    ],
    layout: LayoutOption = Layout.LEGACY,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write a version for readers of the existing pipeline, and let its pointer name it.

    Files first, then the pointer, which never goes from a newer snapshot to an older one. With
    the setting mirror_legacy every new version is written there.

    Example: [bold]chromaseal export lines --to s3://old-bucket[/]
    """
    del layout
    output = Output.of(as_json=as_json)
    name, _, at = refuse_path(ctx, wanted).partition("@")
    with open_for(name, vault, ledger) as opened, output.steps() as show:
        exported = export_one(opened, name, target, at=at, progress=functools.partial(show, name))
    manifest = exported.version.manifest
    output.record(
        "exported" if exported.new else "unchanged",
        collection=name,
        version=manifest.number,
        version_id=exported.version.version_id,
        snapshot=exported.snapshot_id,
        url=exported.url,
        stored_bytes=exported.stored_bytes,
    )
    state = "is now" if exported.new else "was already"
    output.say(
        f"{name} in {exported.url} {state} snapshot {exported.snapshot_id}, which is version "
        f"{manifest.number}: {counted(manifest.records.count, 'record')}"
    )
