"""chromaseal gc and stats: what goes, what stays, what it takes and costs."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated

import typer

from chromaseal.entrypoints.cli.options import (
    JsonOption,
    LedgerOption,
    VaultOption,
    open_for,
    open_here,
)
from chromaseal.entrypoints.cli.output import Output, counted, size, span
from chromaseal.errors import UsageError
from chromaseal.snapshot.garbage import Garbage
from chromaseal.snapshot.retention import Policy
from chromaseal.snapshot.stats import Stats

_SHOWN_REASONS = 20


def gc(
    collections: Annotated[
        list[str] | None, typer.Argument(help="Collections; all of them by default.")
    ] = None,
    keep_last: Annotated[
        int | None, typer.Option(min=1, help="Keep that many of the newest versions.")
    ] = None,
    keep_days: Annotated[
        float | None, typer.Option(min=0, help="Keep the versions of that many days.")
    ] = None,
    deltas_after: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Remove deltas once that many versions that stay contain them. A run that "
            "arrives late can then not be put in order before them.",
        ),
    ] = None,
    forget: Annotated[
        list[int] | None,
        typer.Option(
            "--forget",
            metavar="NUMBER",
            min=1,
            help="Give up that version of the one collection named, which cannot be read any "
            "more; may be repeated.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would go and why; remove nothing.")
    ] = False,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Remove what no version needs, and versions that neither rule keeps.

    Without rules every version stays, and only what interrupted writers left goes. The newest
    version and tagged ones always stay. Safe at any time, beside any writer.

    With --forget a version goes that is beyond rescue, and what only it needed.

    Example: [bold]chromaseal gc --keep-last 10 --keep-days 30 --dry-run[/]
    """
    output = Output.of(as_json=as_json)
    _check_forget(forget or (), collections or ())
    policy = Policy(keep_last, keep_days, deltas_after)
    with open_here(vault, ledger) as opened:
        for name in collections or opened.collections():
            with output.steps() as show:
                garbage = opened.gc(
                    name,
                    policy,
                    forget=forget or (),
                    dry_run=dry_run,
                    progress=functools.partial(show, name, "remove"),
                )
            _show_garbage(output, garbage, dry_run=dry_run)


def _check_forget(forget: Sequence[int], collections: Sequence[str]) -> None:
    if forget and len(collections) != 1:
        raise UsageError(
            "--forget takes one collection", hint="chromaseal gc COLLECTION --forget NUMBER"
        )


def _show_garbage(output: Output, garbage: Garbage, *, dry_run: bool) -> None:
    output.record(
        "would-remove" if dry_run else "removed",
        collection=garbage.collection,
        versions=list(garbage.versions),
        kept=list(garbage.kept),
        size_bytes=garbage.size_bytes,
        objects=[asdict(each) for each in garbage.doomed],
    )
    would = "would go" if dry_run else "went"
    if not garbage.doomed and not garbage.versions:
        output.say(f"{garbage.collection}: there is nothing to remove")
        return
    reasons = defaultdict(list)
    for doomed in garbage.doomed:
        reasons[doomed.why].append(doomed.size_bytes)
    more = len(reasons) - _SHOWN_REASONS
    output.table(
        f"{garbage.collection}: what {would}" + (f", and {more} more" if more > 0 else ""),
        ["why", "objects", "size"],
        [
            [why, len(sizes_bytes), size(sum(sizes_bytes))]
            for why, sizes_bytes in list(reasons.items())[:_SHOWN_REASONS]
        ],
    )
    output.say(
        f"{garbage.collection}: {counted(len(garbage.versions), 'version')} and "
        f"{counted(len(garbage.doomed), 'object')}, {size(garbage.size_bytes)}, {would}; "
        f"{counted(len(garbage.kept), 'version')} {'stays' if len(garbage.kept) == 1 else 'stay'}"
    )


def stats(
    collection: Annotated[
        str, typer.Argument(help="Which collection; all of them by default.")
    ] = "",
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Tell what collections take: bytes, layers, amplification, requests and their price.

    Example: [bold]chromaseal stats notes[/]
    """
    output = Output.of(as_json=as_json)
    if collection:
        with open_for(collection, vault, ledger) as opened:
            found = [opened.stats(collection)]
    else:
        with open_here(vault, ledger) as opened:
            names = [name for name in opened.collections() if opened.has_version(name)]
            found = [opened.stats(name) for name in names]
    for each in found:
        output.record("stats", **_plain(each))
        _show_stats(output, each)


def _plain(found: Stats) -> dict[str, object]:
    return {
        **asdict(found),
        "chain_length": len(found.layers),
        "read_amplification": found.read_amplification,
        "write_amplification": found.write_amplification,
        "month_usd": found.month_usd,
        "commit_usd": found.commit_usd,
        "cold_read_usd": found.cold_read_usd,
    }


def _show_stats(output: Output, found: Stats) -> None:
    writes = found.write_amplification
    rows: list[list[object]] = [
        ["versions ever made", found.versions],
        ["records", found.records],
        ["directory", size(found.directory_bytes)],
        ["stored", f"{size(found.stored_bytes)} in {counted(found.objects, 'object')}"],
        ["of that deltas", size(found.delta_bytes)],
        ["layers ever written", size(found.written_bytes)],
        ["write amplification", f"{writes:.1f} x the deltas" if writes else "no deltas"],
        [
            "a cold read",
            f"{size(found.cold_read_bytes)}, {counted(found.cold_read_gets, 'request')}",
        ],
        ["read amplification", f"{found.read_amplification:.2f} x a new base"],
        ["storage at S3's list price", f"{_usd(found.month_usd)} a month"],
        [
            "the last commit's requests",
            f"{counted(found.commit_puts, 'put')}, {_usd(found.commit_usd)}",
        ],
        ["a cold read's requests", _usd(found.cold_read_usd)],
    ]
    output.table(f"{found.collection}", ["what", "how much"], rows)
    output.table(
        f"Chain of the newest version: {counted(len(found.layers), 'layer')}",
        ["kind", "versions", "objects", "size"],
        [[e.kind, span(e.first, e.last), e.objects, size(e.size_bytes)] for e in found.layers],
    )


def _usd(amount: float) -> str:
    """Write an amount of US dollars; most of them are small."""
    return f"${amount:.2f}" if amount >= 1 else f"${Decimal(f'{amount:.2g}'):f}"
