"""chromaseal compact: fold waiting runs into new versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from chromaseal.compaction.outcome import Compaction
from chromaseal.composition.fleet import terms_here
from chromaseal.entrypoints.cli.options import (
    JsonOption,
    LedgerOption,
    VaultOption,
    complain_of_mirror,
    open_here,
)
from chromaseal.entrypoints.cli.output import Output, counted, in_short, seconds, size
from chromaseal.errors import ChromasealError, Conflict, Incomplete
from chromaseal.fleet.journal import BEHIND_RUNS
from chromaseal.fleet.turn import Turns, compact_in_turn, compact_portions, holder_of
from chromaseal.run.lease import Lease
from chromaseal.run.model import WAITING_STATES
from chromaseal.run.owner import shown_owner
from chromaseal.vault import Vault

_ASKED_AGAIN_S = 0.5
# As many as a vault compacts side by side; whoever waits for a place needs no lease.
_AT_ONCE = 2
Take = Callable[..., Turns]


def compact(
    collections: Annotated[
        list[str] | None,
        typer.Argument(metavar="COLLECTIONS", help="Collections; all of them by default."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for whoever is compacting a collection now.")
    ] = False,
    no_lease: Annotated[
        bool,
        typer.Option(
            "--no-lease",
            help="Ask nobody whether another is at it: as safe, and one of the two works in vain.",
        ),
    ] = False,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Fold the waiting runs into a new version of each collection.

    A collection that another process is compacting is left to it; who that is, is said.

    Example: [bold]chromaseal compact lines words[/]
    """
    output = Output.of(as_json=as_json)
    with open_here(vault, ledger) as opened:
        opened.refuse_unknown(collections or [])
        names = collections or opened.collections()
        take = compact_portions if no_lease else compact_in_turn
        turns, errors = _take_turns(opened, names, output, wait=wait, take=take)
        _show(turns.done, output)
    _tell_left(turns, output)
    _complain(turns.done, errors)
    complain_of_mirror(opened)
    if turns.left:
        raise Conflict(
            "; ".join(holder_of(name, lease) for name, lease in turns.left.items()),
            kind="leased",
            hint="it takes all that waits; --wait waits for it, --no-lease does not ask",
        )


def compact_after(opened: Vault, collections: list[str], output: Output) -> None:
    """Compact what another command has added; leave it to a worker where one is at it."""
    turns, errors = _take_turns(opened, collections, output, wait=False)
    _show(turns.done, output)
    _tell_left(turns, output)
    for name, lease in turns.left.items():
        output.note(f"{holder_of(name, lease)}; it takes what was added, or the next one does")
    _complain(turns.done, errors)
    complain_of_mirror(opened)


def say_what_waits(opened: Vault, names: list[str], output: Output) -> None:
    """Say how far behind compaction is; what was ingested is stored all the same."""
    for name in names:
        counts = opened.parts.ledger.counts(name)
        runs = sum(counts.get(state, 0) for state in WAITING_STATES)
        if not runs:
            continue
        falls_behind = runs > BEHIND_RUNS
        output.record("runs-waiting", collection=name, runs=runs, falls_behind=falls_behind)
        late = "; compaction falls behind, nothing is dropped" if falls_behind else ""
        output.say(f"{name}: {counted(runs, 'run')} for the next version{late}")


def _take_turns(
    opened: Vault,
    names: list[str],
    output: Output,
    *,
    wait: bool,
    take: Take = compact_in_turn,
) -> tuple[Turns, Sequence[ChromasealError]]:
    """Compact what can be had, some at a time; an error keeps nobody else from it."""
    done: list[Compaction] = []
    errors: list[ChromasealError] = []
    left: dict[str, Lease | None] = {}
    terms = terms_here(opened)
    with output.steps() as show:
        while names:
            left = {name: lease for name, lease in left.items() if name not in names}
            more: list[str] = []
            groups = [names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)]
            while groups:
                some = groups.pop(0)
                try:
                    turns = take(opened, some, terms, progress=show)
                except ChromasealError as error:
                    if error.kind == "disk-full" and len(some) > 1:
                        # One after the other they may have room.
                        groups = [[name] for name in some] + groups
                    else:
                        errors.append(error)
                    continue
                done += turns.done
                left |= turns.left
                more += turns.more if any(each.merged or each.failed for each in turns.done) else ()
            names = more + (list(left) if wait else [])
            if names and not more:
                opened.parts.clock.sleep(_ASKED_AGAIN_S)
    return Turns(tuple(done), left), errors


def _tell_left(turns: Turns, output: Output) -> None:
    for name, lease in turns.left.items():
        output.record(
            "left",
            collection=name,
            owner=shown_owner(lease.owner) if lease else "",
            epoch=lease.epoch if lease else None,
            expires_in_s=lease.expires_in_s if lease else 0.0,
        )


def _show(compactions: Sequence[Compaction], output: Output) -> None:
    """Show what became of each collection."""
    for each in compactions:
        output.record("compaction", **plain_compaction(each))
    if any(each.version for each in compactions):
        output.table(
            "Versions",
            ["collection", "version", "runs", "records", "size", "checks", "time"],
            [_row(each) for each in compactions if each.version],
        )
    elif compactions:
        output.say("nothing waited to be folded into a new version")


def _complain(compactions: Sequence[Compaction], errors: Sequence[ChromasealError]) -> None:
    """Raise what went wrong first, else an error about runs that could not be merged."""
    for error in errors:
        raise error
    failed = {run_id: why for each in compactions for run_id, why in each.failed.items()}
    if failed:
        run_id, why = next(iter(failed.items()))
        raise Incomplete(
            f"{counted(len(failed), 'run')} could not be merged, set aside; the first because: "
            f"{in_short(why)}",
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


def plain_compaction(done: Compaction) -> dict[str, object]:
    """Give a compaction as programs read it."""
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
