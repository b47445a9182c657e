"""chromaseal doctor: what is wrong with vault, ledger and machine, and what mends it."""

from __future__ import annotations

from chromaseal.composition.engine import settings_here
from chromaseal.composition.environment import examine_environment
from chromaseal.entrypoints.cli.options import JsonOption, LedgerOption, VaultOption, open_here
from chromaseal.entrypoints.cli.output import Output, counted
from chromaseal.errors import ChromasealError, Damaged
from chromaseal.verification.remark import wrong


def doctor(vault: VaultOption = "", ledger: LedgerOption = "", as_json: JsonOption = False) -> None:
    """Look at the vault, the ledger and this machine: what is wrong, why, and what mends it.

    Nothing is changed. Versions are looked at by the names and sizes of their objects; `verify`
    reads what is in them.

    Example: [bold]chromaseal doctor --vault ./vault[/]
    """
    output = Output.of(as_json=as_json)
    remarks = list(examine_environment(settings_here(vault=vault, ledger=ledger)))
    try:
        with output.steps() as show, open_here(vault, ledger) as opened:
            remarks += opened.doctor(progress=lambda *step: show("", *step))
    except ChromasealError as error:
        remarks.append(wrong("vault", "readable", error.message, error.hint))
    for remark in remarks:
        output.record(
            "remark",
            subject=remark.subject,
            check=remark.check,
            passed=remark.passed,
            evidence=remark.evidence,
            mend=remark.mend,
        )
    output.table(
        "What was looked at",
        ["of", "check", "verdict", "evidence", "next"],
        [[r.subject, r.check, "ok" if r.passed else "WRONG", r.evidence, r.mend] for r in remarks],
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
