"""Sealed -> VerifiedSnapshot: structure and sets checked in a child process.

Publishing takes a ``VerifiedSnapshot`` and nothing else, and only ``verify`` makes one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chromaseal import multiset, pools
from chromaseal.digests import PAGE_SIZE_BYTES, page_digests, pages_in
from chromaseal.errors import Damaged, Unavailable
from chromaseal.sandbox import Plain, Sandbox, limits_for
from chromaseal.seal.evidence import CheckEntry, CollectionSummary, RecordSummary
from chromaseal.seal.page_table import Tables, differing_pages, digest_rows
from chromaseal.seal.quiet import DATABASE
from chromaseal.seal.sealed import FILE_CHANGED, Sealed, refuse_changed
from chromaseal.seal.telling import tell_check
from chromaseal.seal.verdict import Finding
from chromaseal.telemetry.emit import carried, event
from chromaseal.telemetry.observer import Severity

_KEY: Final = object()
# Beyond one page in so many, looking at everything takes no longer.
_LARGEST_SHARE: Final = 8


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


@dataclass(frozen=True, slots=True, eq=False)
class Before:
    """A verified state of a directory that it was changed from.

    Attributes:
        name: of the version, for people.
        tables: the pages of its files.
        collections: what they amount to.
        read: gives pages of the database by their numbers from 0, ascending; zeros for those
            that it has not.
        is_sound: tells whether a file of the copy that it is read from still has these pages.
    """

    name: str
    tables: Tables
    collections: tuple[CollectionSummary, ...]
    read: Callable[[NDArray[np.int64]], bytes]
    is_sound: Callable[[str], bool]


def verify(
    sealed: Sealed,
    *,
    sandbox: Sandbox,
    collection: str = "",
    expected: RecordSummary | None = None,
    space: str = "",
    before: Before | None = None,
    merged_here: bool = False,
) -> VerifiedSnapshot:
    """Check a sealed directory.

    Args:
        sealed: the directory.
        sandbox: where the checks run; damaged files can take their process down.
        collection: a ChromaDB collection that must be in it, if any must.
        expected: what the records must amount to, where that is known.
        space: how that collection must measure distance, where that is known.
        before: a verified state that the directory was changed from; then what did not change
            is not looked at again, where the changed pages say what that is.
        merged_here: whether a child of ours made the changes, in a private copy: SQLite's indexes
            are not compared with its tables then, and a check that has to write may write there.

    Raises:
        Damaged: ``failed-verification``, with every check that failed.
        Conflict: ``changed-while-reading``.
    """
    with tempfile.TemporaryDirectory(prefix="chromaseal-") as scratch:
        answer = None
        if before is not None:
            answer = _changes(sealed, sandbox, before, Path(scratch), merged_here=merged_here)
        if answer is None:
            request = {"collection": collection, "space": space, "scratch": scratch}
            answer = sandbox.run(
                "verify",
                {"directory": str(sealed.directory), "deep": True, **request},
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


def _changes(
    sealed: Sealed, sandbox: Sandbox, before: Before, scratch: Path, *, merged_here: bool
) -> Plain | None:
    """Look at what changed; None where all has to be looked at."""
    changed = _changed_pages(sealed, before)
    if changed is None:
        return None
    earlier = scratch / "before"
    try:
        earlier.write_bytes(_as_they_were(before, changed))
    except FILE_CHANGED:
        # What is kept may be replaced by something newer at any time.
        return None
    except Damaged as error:
        _tell_whole(error.message)
        return None
    request = {
        "directory": str(sealed.directory),
        "changed": changed.tolist(),
        "before": str(earlier),
        "merged_here": merged_here,
        "scratch": str(scratch),
        "collections": [_plain_summary(each) for each in before.collections],
    }
    with pools.pool(1) as pool:
        # What did not change is believed, so what it was compared with must be what it was. Where
        # a merge went before, that was looked at meanwhile.
        sound = pool.submit(carried(before.is_sound), DATABASE)
        try:
            answer = sandbox.run("verify-changes", request, limits=limits_for(sealed.size_bytes))
        except Unavailable as error:
            # If it was damage that took the process down, the look at everything will tell.
            answer = {"whole": error.message}
        whole = answer.get("whole", "") if sound.result() else "the copy of it here is rotten"
    if not whole and answer["index_read"]:
        rotten = (path for path in before.tables if path != DATABASE and not before.is_sound(path))
        whole = "".join(f"the copy of {path} here is rotten" for path in rotten)
    if whole:
        _tell_whole(whole)
        return None
    evidence = f"{len(changed)} pages changed since {before.name}"
    since = Finding("since", passed=True, evidence=evidence)
    return {**answer, "findings": [since.plain(0.0), *answer["findings"]]}


def _tell_whole(reason: str) -> None:
    event("verified as a whole", Severity.WARNING, reason=reason)


def _as_they_were(before: Before, changed: NDArray[np.int64]) -> bytes:
    """Read pages of the earlier state.

    The copy that they are read from may have been looked at a while ago, so they are checked.

    Raises:
        Damaged: ``bad-file``.
    """
    content, table = before.read(changed), before.tables[DATABASE]
    there = changed[changed < table.size_bytes // PAGE_SIZE_BYTES]
    found = digest_rows(page_digests(content[: len(there) * PAGE_SIZE_BYTES]))
    if not np.array_equal(found, digest_rows(table.digests)[there]):
        raise Damaged("the copy of it here is rotten", kind="bad-file")
    return content


def _changed_pages(sealed: Sealed, before: Before) -> NDArray[np.int64] | None:
    """Give the pages of the database that changed; None if more than that did."""
    now, then = sealed.tables, before.tables
    others = {path for path in now.keys() | then.keys() if now.get(path) != then.get(path)}
    if others != {DATABASE} or DATABASE not in then or DATABASE not in now:
        return None
    changed = differing_pages(then[DATABASE], now[DATABASE])
    if len(changed) * _LARGEST_SHARE > pages_in(now[DATABASE].size_bytes):
        return None
    return changed


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


def _plain_summary(summary: CollectionSummary) -> Plain:
    return {
        "name": summary.name,
        "count": summary.records.count,
        "multiset": summary.records.multiset,
    }


def _failed(sealed: Sealed, failed: list[str]) -> Damaged:
    return Damaged(
        f"{sealed.directory} did not pass verification: {'; '.join(failed)}",
        kind="failed-verification",
        hint="nothing was published; the version before it is untouched",
    )
