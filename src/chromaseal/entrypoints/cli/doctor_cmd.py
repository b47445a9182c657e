"""chromaseal doctor: what is wrong with vault, ledger and machine, and what mends it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import typer

from chromaseal.composition.engine import settings_here
from chromaseal.composition.environment import examine_environment
from chromaseal.composition.vault_pin import rebuild_pin as rebuild_pin_at
from chromaseal.entrypoints.cli.options import JsonOption, LedgerOption, VaultOption, open_here
from chromaseal.entrypoints.cli.output import Output, counted
from chromaseal.errors import ChromasealError, Damaged, Incomplete, UsageError
from chromaseal.settings import Settings, without_secrets
from chromaseal.sweep.ledger import Swept
from chromaseal.verification.remark import Remark, wrong

_VERDICTS = {True: "ok", False: "WRONG"}


def doctor(
    rebuild_ledger: Annotated[
        bool,
        typer.Option(
            "--rebuild-ledger",
            help="Make or complete the ledger from what the vault holds, and say what came of it.",
        ),
    ] = False,
    rebuild_pin: Annotated[
        bool,
        typer.Option(
            "--rebuild-pin",
            help="Put a vault's lost or unreadable pin back, with the id that the ledger has.",
        ),
    ] = False,
    new_id: Annotated[
        bool,
        typer.Option(
            "--new-id",
            help="With --rebuild-pin, where the ledger is lost too: an id that the vault never "
            "had. Mounts and ledgers of the old id are refused from then on.",
        ),
    ] = False,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Look at the vault, the ledger and this machine: what is wrong, why, and what mends it.

    Nothing is changed, and no ledger is made. Versions are looked at by the names and sizes of
    their objects; `verify` reads what is in them.

    With --rebuild-ledger the ledger is changed, and nothing else: runs that versions have become
    COMPLETED, deltas that no version has wait, damaged ones have failed. What the ledger knows
    stays. For when no writer is at work; may be repeated.

    With --rebuild-pin a vault whose own pin is lost can be opened again. It changes nothing
    where the vault has one; may be repeated.

    Example: [bold]chromaseal doctor --vault ./vault[/]
    """
    output = Output.of(as_json=as_json)
    if new_id and not rebuild_pin:
        raise UsageError("--new-id says how --rebuild-pin works", hint="say both, or neither")
    if rebuild_pin:
        _put_pin_back(output, settings_here(vault=vault, ledger=ledger), new_id=new_id)
    if rebuild_ledger:
        _rebuild(output, vault, ledger)
    if rebuild_pin or rebuild_ledger:
        return
    remarks = list(examine_environment(settings_here(vault=vault, ledger=ledger)))
    try:
        with output.steps() as show, open_here(vault, ledger, only_read=True) as opened:
            remarks += opened.doctor(progress=lambda *step: show("", *step))
    except ChromasealError as error:
        remarks.append(wrong("vault", "readable", error.message, error.hint))
    _show(output, remarks)


def _show(output: Output, remarks: list[Remark]) -> None:
    shown = [replace(remark, mend=output.pastable(remark.mend)) for remark in remarks]
    with output.read_or_not():
        for remark in shown:
            output.record("remark", **asdict(remark))
        output.table(
            "What was looked at",
            ["of", "check", "verdict", "evidence", "next"],
            [
                [each.subject, each.check, _VERDICTS[each.passed], each.evidence, each.mend]
                for each in shown
            ],
        )
    failed = [remark for remark in remarks if not remark.passed]
    if failed:
        raise Damaged(
            f"{counted(len(failed), 'thing')} wrong: "
            + "; ".join(f"{r.subject}: {r.check}" for r in failed),
            kind="unsound",
            hint=failed[0].mend or "the table says what each check found",
        )
    output.say(f"all is well: {len(remarks)} checks")


def _put_pin_back(output: Output, settings: Settings, *, new_id: bool) -> None:
    vault_id = rebuild_pin_at(settings, new_id=new_id)
    place = without_secrets(settings.vault)
    output.record("rebuilt-pin", vault=place, vault_id=vault_id)
    output.say(f"{place} is the vault {vault_id}")


def _rebuild(output: Output, vault: str, ledger: str) -> None:
    with output.steps() as show, open_here(vault, ledger) as opened:
        swept = opened.rebuild_ledger(progress=lambda name, *step: show(name, "read", *step))
        place = opened.parts.ledger.url
    output.record(
        "rebuilt-ledger",
        ledger=place,
        added={state.value: count for state, count in swept.added.items()},
        completed=swept.completed,
        waiting=swept.waiting,
        cancelled=swept.cancelled,
        right=swept.right,
        left=list(swept.left),
        unreadable=dict(swept.unreadable),
    )
    output.say(f"{place}, counted by run and collection:")
    for line in _told(swept):
        output.say(f"  {line}")
    if swept.left or swept.unreadable:
        raise Incomplete(
            "not all could be settled: "
            + "; ".join([*swept.left, *(f"{n}: {why}" for n, why in swept.unreadable.items())]),
            kind="ledger-incomplete",
            hint="chromaseal doctor says what mends the collections; then run this once more",
        )


def _told(swept: Swept) -> list[str]:
    added = ", ".join(f"{count} {state}" for state, count in swept.added.items())
    return [
        f"{added or 'nothing'} added that it did not know",
        f"{swept.completed} COMPLETED that it thought open: a version has them",
        f"{swept.waiting} PENDING that it thought done: no version has them",
        f"{swept.cancelled} CANCELLED that it thought open: the vault has a mark of that",
        f"{swept.right} right as they were",
    ]
