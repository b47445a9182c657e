"""Sealed -> VerifiedSnapshot: structure and sets checked in a child process.

Publishing takes a ``VerifiedSnapshot`` and nothing else, and only ``verify`` makes one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import Final

from chromaseal import multiset
from chromaseal.errors import Damaged
from chromaseal.sandbox import Plain, Sandbox, limits_for
from chromaseal.seal.evidence import CheckEntry, CollectionSummary, RecordSummary
from chromaseal.seal.sealed import Sealed, refuse_changed
from chromaseal.seal.telling import tell_check
from chromaseal.seal.verdict import Finding

_KEY: Final = object()


class VerifiedSnapshot:
    """A sealed directory that passed every check; only ``verify`` makes one.

    Attributes:
        sealed: the directory.
        records: count and multiset hash of all records.
        collections: the same for each ChromaDB collection.
        checks: what was checked, with evidence.
    """

    __slots__ = ("checks", "collections", "records", "sealed")

    def __init__(
        self,
        sealed: Sealed,
        records: RecordSummary,
        collections: tuple[CollectionSummary, ...],
        checks: tuple[CheckEntry, ...],
        *,
        key: object,
    ) -> None:
        if key is not _KEY:
            raise TypeError("only verify() makes a VerifiedSnapshot")
        self.sealed = sealed
        self.records = records
        self.collections = collections
        self.checks = checks


def verify(
    sealed: Sealed,
    *,
    sandbox: Sandbox,
    collection: str = "",
    expected: RecordSummary | None = None,
    space: str = "",
) -> VerifiedSnapshot:
    """Check a sealed directory.

    Args:
        sealed: the directory.
        sandbox: where the checks run; damaged files can take their process down.
        collection: a ChromaDB collection that must be in it, if any must.
        expected: what the records must amount to, where that is known.
        space: how that collection must measure distance, where that is known.

    Raises:
        Damaged: ``failed-verification``, with every check that failed.
        Conflict: ``changed-while-reading``.
    """
    with tempfile.TemporaryDirectory(prefix="chromaseal-") as scratch:
        answer = sandbox.run(
            "verify",
            {
                "directory": str(sealed.directory),
                "deep": True,
                "collection": collection,
                "space": space,
                "scratch": scratch,
            },
            limits=limits_for(sealed.size_bytes),
        )
    # What was looked at must be what was sealed.
    refuse_changed(sealed)
    for found in answer["findings"]:
        tell_check(Finding(**found))
    failed = [f"{f['check']} ({f['evidence']})" for f in answer["findings"] if not f["passed"]]
    if failed:
        raise _failed(sealed, failed)
    collections = tuple(collection_summary(each) for each in answer["collections"])
    records = total(collections)
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
    return VerifiedSnapshot(sealed, records, collections, tuple(checks), key=_KEY)


def total(collections: Iterable[CollectionSummary]) -> RecordSummary:
    """Add up the records of all collections."""
    each = [collection.records for collection in collections]
    together = sum((multiset.from_text(records.multiset) for records in each), multiset.EMPTY)
    return RecordSummary(sum(records.count for records in each), together.to_text())


def collection_summary(answer: Plain) -> CollectionSummary:
    """Read what the job "verify" says of one collection."""
    return CollectionSummary(
        name=answer["name"],
        records=RecordSummary(answer["count"], answer["multiset"]),
        dimension=answer["dimension"],
        space=answer["space"],
    )


def _failed(sealed: Sealed, failed: list[str]) -> Damaged:
    return Damaged(
        f"{sealed.directory} did not pass verification: {'; '.join(failed)}",
        kind="failed-verification",
        hint="nothing was published; the version before it is untouched",
    )
