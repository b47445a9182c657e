"""A newest version whose manifest is lost -> what it was made of, proved, or why nobody knows.

A manifest alone says what is in a version, so with it that knowledge is lost. What is left are
witnesses: the ledger, which notes of every merged run which version has it, and the deltas. A
version with runs has nothing but the version before it and those runs; one that was pushed has
content that nothing tells of.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chromaseal.compaction.deltas import read_delta
from chromaseal.errors import ChromasealError, Damaged, Unavailable
from chromaseal.parts import Parts
from chromaseal.pin import read_pin
from chromaseal.run.model import Run, RunState
from chromaseal.seal.evidence import RecordSummary
from chromaseal.seal.page_table import Tables
from chromaseal.snapshot.fallback import before_lost
from chromaseal.snapshot.kept import Kept, tables_in
from chromaseal.snapshot.manifest import Manifest, Version
from chromaseal.snapshot.version_id import parse

_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class LostVersion:
    """A newest version whose manifest cannot be read.

    Attributes:
        collection: whose.
        version_id: its id, as the pointer has it.
        problem: what became of its manifest.
    """

    collection: str
    version_id: str
    problem: Damaged

    @property
    def number(self) -> int:
        """Give its number."""
        return parse(self.version_id).number

    def cannot(self, why: str, before: Version | None = None) -> Damaged:
        """Make the error for one that nothing can be proved of.

        Args:
            why: what is not known.
            before: the version before it.
        """
        hint = f"bring the manifest of {self.version_id} back from a backup of the vault"
        if before is not None:
            hint += (
                f"; or give up what is in version {self.number} and in nothing else: "
                f"chromaseal rollback {self.collection} {before.manifest.number}"
            )
        return Damaged(
            f"version {self.number} of {self.collection} cannot be made again: "
            f"{self.problem.message}, and {why}",
            kind="cannot-repair",
            hint=hint,
        )


def version_before(parts: Parts, lost: LostVersion) -> Version | None:
    """Give the version that a lost one was made from; None for number 1, which has none.

    Raises:
        Damaged: ``cannot-repair``, it is not there, or cannot be told from a mere attempt.
    """
    if lost.number == 1:
        return None
    try:
        before = before_lost(parts.store, lost.collection, lost.version_id, lost.problem)
    except Damaged:
        raise lost.cannot("the version before it cannot be told") from None
    if before.manifest.number != lost.number - 1:
        raise lost.cannot(f"version {lost.number - 1} is not there either", before)
    return before


def noted_runs(parts: Parts, lost: LostVersion) -> list[Run]:
    """Give the runs of which the ledger notes that a lost version has them, oldest first.

    Raises:
        UsageError: nobody named a ledger.
        NotFound: the ledger is gone.
        Unavailable: the ledger does not answer.
    """
    done = parts.ledger.newest(collection=lost.collection, state=RunState.COMPLETED, limit=_ALL)
    noted = [run for run in done if run.parts[lost.collection].version_id == lost.version_id]
    return sorted(noted, key=lambda run: (run.created_at, run.run_id))


def proved_runs(parts: Parts, lost: LostVersion, before: Version | None) -> list[Run]:
    """Give the runs that are all that a lost version has beside the one before it.

    Raises:
        Damaged: ``cannot-repair``, nobody knows what was in it, or a delta is lost too.
        Unavailable: the store did not answer.
    """
    try:
        runs = noted_runs(parts, lost)
    except ChromasealError as error:
        raise lost.cannot(f"nothing says what was in it: {error.message}", before) from error
    if not runs:
        raise lost.cannot(
            "nothing says what was in it: no run in the ledger is noted to be in this version, so "
            "it may have been pushed from a directory",
            before,
        )
    pin = read_pin(parts.store, lost.collection)
    if pin is None:
        raise lost.cannot("the collection has no pin", before)
    for run in runs:
        try:
            read_delta(parts.store, parts.codec, run, pin)
        except Unavailable:
            raise
        except ChromasealError as error:
            why = f"the delta of run {run.run_id}, which it had, cannot be read: {error.message}"
            raise lost.cannot(why, before) from error
    return runs


def is_kept(parts: Parts, lost: LostVersion) -> bool:
    """Whether this machine keeps something of a version whose manifest is lost."""
    return tables_in(_kept_in(parts, lost)) is not None


def kept_of(parts: Parts, lost: LostVersion) -> Kept | None:
    """Give what this machine keeps of a version whose manifest is lost.

    Its folder has the version's name, and a digest for each of its pages.
    """
    tables = tables_in(_kept_in(parts, lost))
    return None if tables is None else parts.checkouts.kept(_stand_in(lost, tables))


def _kept_in(parts: Parts, lost: LostVersion) -> Path:
    return parts.checkouts.folder(lost.collection) / lost.version_id


def _stand_in(lost: LostVersion, tables: Tables) -> Version:
    """Make a version of which nothing is known but its files."""
    manifest = Manifest(
        collection=lost.collection,
        number=lost.number,
        created_at="",
        attempt="",
        parent=None,
        writer={},
        model=None,
        records=RecordSummary(0, ""),
        collections=(),
        runs=(),
        restores=None,
        pages=(),
        past=(),
        files=tuple(tables[path].entry(path) for path in sorted(tables)),
        layers=(),
        step=None,
        packed_bytes=0,
        checks=(),
    )
    return Version(lost.version_id, "", manifest)
