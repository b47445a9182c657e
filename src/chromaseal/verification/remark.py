"""What a look at a vault has to say, with the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that was looked at.

    Attributes:
        subject: what: ``environment``, ``vault`` or a collection's name.
        check: which question was asked.
        passed: whether all is well.
        evidence: what was found, and where something is wrong, why it matters.
        mend: the command or step that mends it; empty where nothing has to be done.
    """

    subject: str
    check: str
    passed: bool
    evidence: str
    mend: str = ""


def well(subject: str, check: str, evidence: str, mend: str = "") -> Remark:
    """Say that all is well."""
    return Remark(subject, check, passed=True, evidence=evidence, mend=mend)


def wrong(subject: str, check: str, evidence: str, mend: str) -> Remark:
    """Say what is wrong, and what mends it."""
    return Remark(subject, check, passed=False, evidence=evidence, mend=mend)
