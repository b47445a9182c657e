"""Sealed -> VerifiedSnapshot: structure and sets checked in a child process.

Publishing takes a ``VerifiedSnapshot`` and nothing else, and only ``verify`` makes one.
"""

from __future__ import annotations

from typing import Final

from chromaseal.errors import Damaged
from chromaseal.sandbox import Sandbox, limits_for
from chromaseal.seal.evidence import CheckEntry, RecordSummary
from chromaseal.seal.sealed import Sealed

_KEY: Final = object()


class VerifiedSnapshot:
    """A sealed directory that passed every check; only ``verify`` makes one.

    Attributes:
        sealed: the directory.
        records: count and multiset hash of the collection's records.
        checks: what was checked, with evidence.
    """

    __slots__ = ("checks", "records", "sealed")

    def __init__(
        self,
        sealed: Sealed,
        records: RecordSummary,
        checks: tuple[CheckEntry, ...],
        *,
        key: object,
    ) -> None:
        if key is not _KEY:
            raise TypeError("only verify() makes a VerifiedSnapshot")
        self.sealed = sealed
        self.records = records
        self.checks = checks


def verify(
    sealed: Sealed,
    collection: str,
    *,
    sandbox: Sandbox,
    expected: RecordSummary | None = None,
    space: str = "",
) -> VerifiedSnapshot:
    """Check a sealed directory.

    Args:
        sealed: the directory.
        collection: the collection that must be in it.
        sandbox: where the checks run; damaged files can take their process down.
        expected: what the records must amount to, where that is known.
        space: how the collection must measure distance, where that is known.

    Raises:
        Damaged: ``failed-verification``, with every check that failed.
    """
    answer = sandbox.run(
        "verify",
        {"directory": str(sealed.directory), "collection": collection, "space": space},
        limits=limits_for(sealed.size_bytes),
    )
    failed = [f"{f['check']} ({f['evidence']})" for f in answer["findings"] if not f["passed"]]
    if failed:
        raise _failed(sealed, failed)
    records = RecordSummary(answer["count"], answer["multiset"])
    if expected is not None and records != expected:
        raise _failed(
            sealed,
            [
                f"records ({records.count} records, {expected.count} expected"
                + ("" if records.count != expected.count else ", with other contents")
                + ")"
            ],
        )
    checks = [CheckEntry(f["check"], f["evidence"], f["duration_s"]) for f in answer["findings"]]
    if expected is not None:
        checks.append(CheckEntry("records", f"{records.count}, multiset hash as expected", 0.0))
    return VerifiedSnapshot(sealed, records, tuple(checks), key=_KEY)


def _failed(sealed: Sealed, failed: list[str]) -> Damaged:
    return Damaged(
        f"{sealed.directory} did not pass verification: {'; '.join(failed)}",
        kind="failed-verification",
        hint="nothing was published; the version before it is untouched",
    )
