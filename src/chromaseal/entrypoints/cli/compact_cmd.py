"""chromaseal compact: fold waiting runs into new versions."""

from __future__ import annotations

from typing import Annotated

import typer

from chromaseal.compaction.outcome import Compaction
from chromaseal.entrypoints.cli.options import JsonOption, LedgerOption, VaultOption, open_here
from chromaseal.entrypoints.cli.output import Output, seconds, size
from chromaseal.errors import Incomplete
from chromaseal.vault import Vault


def compact(
    collections: Annotated[
        list[str] | None,
        typer.Argument(metavar="COLLECTIONS", help="Collections; all of them by default."),
    ] = None,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Fold the waiting runs into a new version of each collection.

    Example: [bold]chromaseal compact lines words[/]
    """
    output = Output.of(as_json=as_json)
    with open_here(vault, ledger) as opened:
        run_compaction(opened, collections or [], output)


def run_compaction(vault: Vault, collections: list[str], output: Output) -> None:
    """Compact, show what became of it, and complain about runs that could not be merged."""
    with output.steps() as show:
        done = vault.compact(collections, progress=show)
    for each in done:
        output.record("compaction", **_plain(each))
    if any(each.version for each in done):
        output.table(
            "Versions",
            ["collection", "version", "runs", "records", "size", "checks", "time"],
            [_row(each) for each in done if each.version],
        )
    else:
        output.say("nothing waited to be folded into a new version")
    failed = {run_id: why for each in done for run_id, why in each.failed.items()}
    if failed:
        run_id, why = next(iter(failed.items()))
        raise Incomplete(
            f"{len(failed)} runs could not be merged and were set aside, the first because: {why}",
            kind="runs-failed",
            hint=f"chromaseal runs show {run_id}",
        )


def _row(done: Compaction) -> list[object]:
    if done.version is None:
        return [done.collection]
    manifest = done.version.manifest
    return [
        done.collection,
        manifest.number,
        len(done.merged),
        manifest.records.count,
        size(manifest.size_bytes),
        f"{len(manifest.checks)} passed",
        seconds(sum(done.durations_s.values())),
    ]


def _plain(done: Compaction) -> dict[str, object]:
    manifest = done.version.manifest if done.version else None
    return {
        "collection": done.collection,
        "version": manifest.number if manifest else None,
        "version_id": done.version.version_id if done.version else None,
        "records": manifest.records.count if manifest else None,
        "merged": list(done.merged),
        "already_contained": list(done.contained),
        "failed": dict(done.failed),
        "lost_races": done.lost_races,
        "durations_s": dict(done.durations_s),
    }
