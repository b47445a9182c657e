"""chromaseal log: a collection's versions."""

from __future__ import annotations

from typing import Annotated

import typer

from chromaseal.entrypoints.cli.options import JsonOption, LedgerOption, VaultOption, open_here
from chromaseal.entrypoints.cli.output import SHORT_ID, Output, moment, size
from chromaseal.snapshot.manifest import Version


def log(
    collection: Annotated[str, typer.Argument(help="Whose versions.")],
    limit: Annotated[int, typer.Option("-n", min=1, help="Versions at most.")] = 20,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """List a collection's versions, the newest first: when, by whom, runs, records, bytes.

    Example: [bold]chromaseal log lines[/]
    """
    output = Output.of(as_json=as_json)
    versions: list[Version] = []
    with open_here(vault, ledger) as opened:
        for version in opened.log(collection):
            versions.append(version)
            output.record("version", **_plain(version))
            if len(versions) == limit:
                break
    output.table(
        f"Versions of {collection}",
        [
            "number",
            "created (UTC)",
            "by",
            "runs merged",
            "records",
            "directory",
            "stored",
            "digest",
        ],
        [_row(version) for version in versions],
    )


def _row(version: Version) -> list[object]:
    manifest = version.manifest
    return [
        manifest.number,
        moment(manifest.created_at),
        manifest.writer.get("host", ""),
        len(manifest.merged_here),
        manifest.records.count,
        size(manifest.size_bytes),
        size(sum(layer.size_bytes for layer in manifest.layers)),
        version.digest[:SHORT_ID],
    ]


def _plain(version: Version) -> dict[str, object]:
    manifest = version.manifest
    return {
        "version_id": version.version_id,
        "number": manifest.number,
        "created_at": manifest.created_at,
        "writer": dict(manifest.writer),
        "model": manifest.model.as_json() if manifest.model else None,
        "records": manifest.records.count,
        "runs_merged": [run.run_id for run in manifest.merged_here],
        "runs": len(manifest.runs),
        "directory_bytes": manifest.size_bytes,
        "stored_bytes": sum(layer.size_bytes for layer in manifest.layers),
        "checks": [check.name for check in manifest.checks],
    }
