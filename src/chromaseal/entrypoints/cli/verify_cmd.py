"""chromaseal verify: a verdict on a directory, a version or a run's deltas, with the evidence."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from chromaseal.composition.directories import verify_directory
from chromaseal.entrypoints.cli.options import (
    JsonOption,
    LedgerOption,
    VaultOption,
    open_for,
    open_here,
)
from chromaseal.entrypoints.cli.output import Output, seconds, size
from chromaseal.errors import Damaged, UsageError
from chromaseal.seal.verdict import Level, Verdict

_FAST_ENOUGH_S = 0.05


def verify(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DIR|COLLECTION[@VERSION]",
            help="A ChromaDB directory, or a version: the newest, or after an @ a number, an id, "
            "a tag or a time.",
        ),
    ] = "",
    delta: Annotated[
        str, typer.Option("--delta", metavar="RUN", help="The deltas of a run instead.")
    ] = "",
    presence: Annotated[
        bool, typer.Option("--presence", help="Names and sizes only; no content is read.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Read all of it once: digests, structure, ids. The default."),
    ] = False,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Look at every value too, and let ChromaDB answer from a copy."
        ),
    ] = False,
    vault: VaultOption = "",
    ledger: LedgerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Prove that a directory, a version or a run's deltas are whole, or say what is wrong.

    Nothing is changed. A directory must be closed: `chromaseal locks DIR` says who has it open.

    Example: [bold]chromaseal verify ./chroma --deep[/]
    """
    if bool(target) == bool(delta):
        raise UsageError(
            "verify takes one thing to look at",
            hint="chromaseal verify DIR, verify COLLECTION[@VERSION], or verify --delta RUN",
        )
    level = _level(presence=presence, quick=quick, deep=deep)
    output = Output.of(as_json=as_json)
    with output.steps() as progress:
        shown = functools.partial(progress, "")
        if delta:
            with open_here(vault, ledger) as opened:
                verdict = opened.verify_run(delta, level=level)
        elif is_directory(target):
            verdict = verify_directory(target, level, progress=shown)
        else:
            collection, at = _version_named(target)
            with open_for(collection, vault, ledger) as opened:
                verdict = opened.verify(collection, at=at, level=level, progress=shown)
    with output.read_or_not():
        _show(output, verdict)
    if not verdict.sound:
        raise _unsound(verdict, _mend(target))


def _version_named(target: str) -> tuple[str, str]:
    collection, mark, at = target.partition("@")
    if mark and not at.strip():
        raise UsageError(
            f"{target} names no version after the @",
            hint=f"chromaseal verify {collection} looks at the newest one",
        )
    return collection, at


def _mend(target: str) -> str:
    """Name what mends the thing that a person has looked at."""
    if not target:
        return "chromaseal doctor says what mends it"
    if is_directory(target):
        return (
            f"chromaseal repair {target} makes it again from its own parts; if that is refused, "
            f"chromaseal salvage {target} OUT brings out all that can be read"
        )
    collection, _, at = target.partition("@")
    if at:
        return "chromaseal doctor says which versions are whole, and what mends the others"
    return f"chromaseal repair {collection}"


def _level(*, presence: bool, quick: bool, deep: bool) -> Level:
    if presence + quick + deep > 1:
        raise UsageError("verify looks at one level", hint="--presence, --quick or --deep")
    return Level.DEEP if deep else Level.PRESENCE if presence else Level.QUICK


def is_directory(target: str) -> bool:
    """Whether a person means a directory: what looks like a path, or is one."""
    return "/" in target.partition("@")[0] or target in {".", ".."} or Path(target).is_dir()


def _show(output: Output, verdict: Verdict) -> None:
    output.record(
        "verdict",
        subject=verdict.subject,
        level=verdict.level,
        sound=verdict.sound,
        size_bytes=verdict.size_bytes,
        duration_s=round(verdict.duration_s, 3),
        findings=[
            {
                "check": finding.check,
                "passed": finding.passed,
                "evidence": finding.evidence,
                "duration_s": finding.duration_s,
            }
            for finding in verdict.findings
        ],
    )
    output.table(
        f"{verdict.subject}, {verdict.level}",
        ["check", "verdict", "evidence", "took"],
        [
            [
                finding.check,
                "ok" if finding.passed else "WRONG",
                finding.evidence,
                seconds(finding.duration_s) if finding.duration_s >= _FAST_ENOUGH_S else "",
            ]
            for finding in verdict.findings
        ],
    )
    if verdict.sound:
        rate = verdict.size_bytes / max(verdict.duration_s, 1e-6)
        output.say(
            f"sound: {len(verdict.findings)} checks, {size(verdict.size_bytes)} "
            f"in {seconds(verdict.duration_s)}, {size(int(rate))}/s"
        )


def _unsound(verdict: Verdict, mend: str) -> Damaged:
    names = ", ".join(dict.fromkeys(finding.check for finding in verdict.failed))
    return Damaged(
        f"{verdict.subject} is not sound: {names}",
        kind="unsound",
        hint=mend,
    )
