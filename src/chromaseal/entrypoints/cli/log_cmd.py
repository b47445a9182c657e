"""chromaseal log, show and diff: a collection's versions, one of them, what changed between two."""

from __future__ import annotations

from typing import Annotated

import typer

from chromaseal.clock import to_iso
from chromaseal.entrypoints.cli.options import (
    CollectionArgument,
    JsonOption,
    LedgerOption,
    VaultOption,
    VersionArgument,
    open_for,
    open_here,
    refuse_empty,
)
from chromaseal.entrypoints.cli.output import Output, moment, seconds, size, span
from chromaseal.replication.difference import Changed, Difference
from chromaseal.snapshot.log import LogEntry
from chromaseal.snapshot.manifest import Manifest, Version

_SHOWN_IDS = 5


def log(
    collection: CollectionArgument,
    limit: Annotated[int, typer.Option("-n", min=1, help="Versions at most.")] = 20,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """List a collection's versions, the newest first: when, tags, runs, records, bytes.

    Example: [bold]chromaseal log lines[/]
    """
    output = Output.of(as_json=as_json)
    entries: list[LogEntry] = []
    with open_here(vault, ledger) as opened:
        for entry in opened.log(collection):
            entries.append(entry)
            output.record("version", **_plain(entry))
            if len(entries) == limit:
                break
    output.table(
        f"Versions of {collection}",
        ["number", "created (UTC)", "tags", "runs", "records", "directory", "stored", "note"],
        [_row(entry) for entry in entries],
    )


def _row(entry: LogEntry) -> list[object]:
    version = entry.version
    notes = [
        *(["removed"] if entry.removed else []),
        *(["lost: its manifest is missing"] if entry.lost else []),
        *([f"content of version {version.restores}"] if version.restores is not None else []),
    ]
    return [
        version.number,
        moment(to_iso(version.created_at)),
        ", ".join(entry.tags),
        len(version.runs) or "",
        version.records,
        size(version.size_bytes),
        size(version.stored_bytes),
        ", ".join(notes),
    ]


def _plain(entry: LogEntry) -> dict[str, object]:
    version = entry.version
    return {
        "version_id": version.version_id,
        "number": version.number,
        "created_at": to_iso(version.created_at),
        "tags": list(entry.tags),
        "records": version.records,
        "runs_merged": [run_id for run_id, _ in version.runs],
        "directory_bytes": version.size_bytes,
        "stored_bytes": version.stored_bytes,
        "restores": version.restores,
        "removed": entry.removed,
        "lost": entry.lost,
    }


def show(
    collection: CollectionArgument,
    at: VersionArgument = "",
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show one version: what is in it, where its pages are, what was checked.

    Example: [bold]chromaseal show notes "2 hours ago"[/]
    """
    output = Output.of(as_json=as_json)
    with open_for(collection, vault, ledger) as opened:
        version = opened.version(collection, at)
    output.record("version", **_plain_version(version))
    _show_version(output, version)


def _show_version(output: Output, version: Version) -> None:
    manifest = version.manifest
    output.say(
        f"version {manifest.number} of {manifest.collection}, {version.version_id}\n"
        f"  made {moment(manifest.created_at)} UTC by chromaseal "
        f"{manifest.writer.get('chromaseal', '?')} on {manifest.writer.get('host', '?')}"
    )
    output.table(
        "ChromaDB collections",
        ["name", "records", "dimensions", "distance"],
        [[c.name, c.records.count, c.dimension or "", c.space] for c in manifest.collections],
    )
    output.table(
        "Layers",
        ["kind", "versions", "objects", "size"],
        [
            [e.kind, span(e.first, e.last), len(e.parts), size(e.size_bytes)]
            for e in manifest.layers
        ],
    )
    output.table("Runs merged", ["run", "begun"], [[r.run_id, r.created_at] for r in manifest.runs])
    output.table(
        "Files", ["path", "size"], [[file.path, size(file.size_bytes)] for file in manifest.files]
    )
    output.table(
        "Checks",
        ["check", "found", "time"],
        [[check.name, check.evidence, seconds(check.duration_s)] for check in manifest.checks],
    )


def _plain_version(version: Version) -> dict[str, object]:
    manifest = version.manifest
    return {
        "version_id": version.version_id,
        "digest": version.digest,
        "number": manifest.number,
        "created_at": manifest.created_at,
        "parent": manifest.parent.version_id if manifest.parent else None,
        "restores": manifest.restores,
        "writer": dict(manifest.writer),
        "model": manifest.model.as_json() if manifest.model else None,
        "records": manifest.records.count,
        "collections": {c.name: c.records.count for c in manifest.collections},
        "runs_merged": [run.run_id for run in manifest.runs],
        "files": {file.path: file.size_bytes for file in manifest.files},
        "layers": _plain_layers(manifest),
        "checks": {check.name: check.evidence for check in manifest.checks},
    }


def _plain_layers(manifest: Manifest) -> list[dict[str, object]]:
    return [
        {
            "layer_id": layer.layer_id,
            "kind": layer.kind,
            "first": layer.first,
            "last": layer.last,
            "objects": len(layer.parts),
            "size_bytes": layer.size_bytes,
        }
        for layer in manifest.layers
    ]


def diff(
    collection: CollectionArgument,
    before: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A number, an id, a tag or a time.", callback=refuse_empty
        ),
    ],
    after: Annotated[
        str,
        typer.Argument(
            metavar="B", help="The other one; the newest by default.", callback=refuse_empty
        ),
    ] = "",
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Tell what changed from version A to version B: records, pages, bytes.

    Example: [bold]chromaseal diff notes 3 5[/]
    """
    output = Output.of(as_json=as_json)
    with open_for(collection, vault, ledger) as opened:
        found = opened.diff(collection, before, after)
    output.record("difference", **_plain_difference(found))
    _show_difference(output, collection, found)


def _show_difference(output: Output, collection: str, found: Difference) -> None:
    one, other = found.before.manifest.number, found.after.manifest.number
    rows = [
        [name, kind, changed.count, _ids(changed)]
        for name, each in found.collections.items()
        for kind, changed in (
            ("added", each.added),
            ("changed", each.changed),
            ("removed", each.removed),
        )
        if changed.count
    ]
    if rows:
        output.table(
            f"Records from version {one} to {other} of {collection}",
            ["collection", "what", "records", "ids"],
            rows,
        )
    else:
        output.say(f"the records of version {one} and version {other} of {collection} are the same")
    if found.pages:
        output.table("Pages of 4 KiB", ["file", "pages"], list(map(list, found.pages.items())))
    step = "" if found.step_bytes is None else f", {size(found.step_bytes)} to fetch"
    sign = "-" if found.size_bytes < 0 else "+"
    output.say(f"the directory: {sign}{size(abs(found.size_bytes))}{step}")


def _ids(changed: Changed) -> str:
    more = changed.count - _SHOWN_IDS
    return ", ".join(changed.ids[:_SHOWN_IDS]) + (f" and {more} more" if more > 0 else "")


def _plain_difference(found: Difference) -> dict[str, object]:
    return {
        "before": found.before.version_id,
        "after": found.after.version_id,
        "collections": {
            name: {
                kind: {"count": changed.count, "ids": list(changed.ids)}
                for kind, changed in (
                    ("added", each.added),
                    ("changed", each.changed),
                    ("removed", each.removed),
                )
            }
            for name, each in found.collections.items()
        },
        "pages": dict(found.pages),
        "size_bytes": found.size_bytes,
        "step_bytes": found.step_bytes,
    }
