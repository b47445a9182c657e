"""A check's finding, told to whoever watches."""

from __future__ import annotations

from chromaseal.seal.verdict import Finding
from chromaseal.telemetry.emit import event
from chromaseal.telemetry.observer import Severity


def tell_check(finding: Finding) -> None:
    """Tell that a check has passed or failed."""
    event(
        "check",
        Severity.DEBUG if finding.passed else Severity.WARNING,
        check=finding.check,
        passed=finding.passed,
        evidence=finding.evidence,
        duration_s=finding.duration_s,
    )
