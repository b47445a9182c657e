"""Where a collection's next version is made: private copies of the newest one.

``FreshCopies`` here makes one for each merge; ``open_copies`` keeps them open from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from chromaseal.errors import Damaged
from chromaseal.parts import Parts
from chromaseal.sandbox import Limits, Plain, Progress
from chromaseal.seal.page_table import Known
from chromaseal.seal.sealed import Sealed
from chromaseal.snapshot.kept import Kept
from chromaseal.snapshot.manifest import Version


@dataclass(frozen=True, slots=True)
class Merged:
    """A directory with deltas merged into it, which nobody has open.

    Attributes:
        directory: nothing else is going to change it.
        known: what is known of it from before the merge.
        answer: the job's.
    """

    directory: Path
    known: Known | None
    answer: Plain


class WorkingCopy(Protocol):
    """A private copy of a version, or an empty directory for a first one."""

    @property
    def kept(self) -> Kept | None:
        """Give what is kept of the version on this machine."""
        ...

    @property
    def scratch(self) -> Path:
        """Give a directory for the deltas; it goes with the copy."""
        ...

    def merge(self, request: Mapping[str, Any], *, limits: Limits, progress: Progress) -> Merged:
        """Merge deltas in a child process.

        Args:
            request: of the job "merge", but for the directory.
            limits: what the child may use up.
            progress: called with merged and all records.

        Raises:
            ChromasealError: the copy is good for nothing any more.
        """
        ...

    def keep(self, version: Version, sealed: Sealed) -> None:
        """Take over what was merged, which has become a version."""
        ...


class WorkingCopies(Protocol):
    """Makes working copies."""

    def of(
        self, collection: str, version: Version | None, *, progress: Progress
    ) -> AbstractContextManager[WorkingCopy]:
        """Give a working copy until the block ends.

        Args:
            collection: whose.
            version: the newest one; None for a first one.
            progress: called with fetched and all bytes.

        Raises:
            Conflict: ``cannot-write``.
            Damaged: the version cannot be fetched whole.
        """
        ...

    def close(self) -> None:
        """Give back what is held from one merge to the next."""
        ...


class FreshCopies:
    """A copy for each merge, by a child whose exit closes it.

    Args:
        parts: what the vault consists of.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @contextmanager
    def of(
        self, collection: str, version: Version | None, *, progress: Progress
    ) -> Iterator[WorkingCopy]:
        """Give a copy that goes when the block ends."""
        del collection
        with self._parts.checkouts.workspace() as scratch:
            directory = scratch / "directory"
            if version is None:
                yield _FreshCopy(self._parts, scratch, None, None)
            else:
                kept, known = check_out(self._parts, version, directory, progress)
                yield _FreshCopy(self._parts, scratch, kept, known)

    def close(self) -> None:
        """Do nothing: nothing is held."""


def check_out(
    parts: Parts, version: Version, directory: Path, progress: Progress
) -> tuple[Kept, Known]:
    """Have a version on this machine, and a copy of it to merge into."""
    kept = parts.checkouts.bring(version, progress=progress)
    try:
        return kept, parts.checkouts.working_copy(kept, directory)
    except Damaged:
        # Another process has kept newer versions meanwhile, and this one went.
        kept = parts.checkouts.bring(version, progress=progress)
        return kept, parts.checkouts.working_copy(kept, directory)


class _FreshCopy:
    def __init__(self, parts: Parts, scratch: Path, kept: Kept | None, known: Known | None) -> None:
        self._parts = parts
        self._known = known
        self.scratch = scratch
        self.kept = kept

    def merge(self, request: Mapping[str, Any], *, limits: Limits, progress: Progress) -> Merged:
        directory = self.scratch / "directory"
        answer = self._parts.sandbox.run(
            "merge", {**request, "directory": str(directory)}, limits=limits, progress=progress
        )
        return Merged(directory, self._known, answer)

    def keep(self, version: Version, sealed: Sealed) -> None:
        self._parts.checkouts.keep(version, sealed)
