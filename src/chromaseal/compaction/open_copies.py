"""Working copies that ChromaDB keeps open from one merge to the next.

Opening a directory loads its index and replays its log, which takes longer than merging a receipt.
So a child process of its own keeps each open, for as long as this compactor makes every version of
the collection. What is published is never the directory that ChromaDB has open: after each merge
another child brings a second copy up to date under SQLite's lock, as ``replicate`` does with the
directory of an application, and that copy is sealed and verified like any other.

::

    <workspace>/open/    ChromaDB has it open
    <workspace>/copy/    the newest version, page for page; nobody has it open

A copy lasts as long as everything goes well. After any error, and when somebody else has published,
its child is killed and the next merge begins with a fresh one. RFC 0015.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

from chromaseal.compaction.working_copies import Merged, WorkingCopy, check_out
from chromaseal.errors import ChromasealError
from chromaseal.parts import Parts
from chromaseal.sandbox import Limits, Progress, Sandbox, limits_for
from chromaseal.seal.page_table import FileStamp
from chromaseal.seal.sealed import Sealed, plain_files
from chromaseal.snapshot.kept import Checks, Kept
from chromaseal.snapshot.manifest import Version
from chromaseal.telemetry.emit import step

# How long the lock may be held at a time; nobody else waits for it.
_BUDGET_S: Final = 1.0
_ATTEMPTS: Final = 3
# Until a directory has grown so much, or more changes than that are to be merged at once, its
# process stays. Runaway work can fill the disk up to the limits that come of it.
_GROWTH: Final = 2
_CHANGES: Final = 10_000

StartMerger = Callable[[], Sandbox]


class OpenCopies:
    """At most so many working copies that stay open.

    Args:
        parts: what the vault consists of.
        start_merger: begins a process of its own for merges, that keeps what they open.
        most: how many; each has its index in memory. The one that was used longest ago goes.
    """

    def __init__(self, parts: Parts, start_merger: StartMerger, *, most: int = 2) -> None:
        self._parts = parts
        self._start_merger = start_merger
        self._most = most
        self._lock = threading.Lock()
        self._used = 0
        self._idle: OrderedDict[str, _OpenCopy] = OrderedDict()

    @contextmanager
    def of(
        self, collection: str, version: Version | None, *, progress: Progress
    ) -> Iterator[WorkingCopy]:
        """Give the copy that is open, or a fresh one; it stays open if it becomes a version."""
        copy = self._taken(collection, version, progress)
        try:
            yield copy
        finally:
            with self._lock:
                self._used -= 1
                # Another thread may have worked on the same collection, and given back its own.
                going = self._idle.pop(collection, None) if copy.has_become else copy
                if copy.has_become:
                    self._idle[collection] = copy
            if going is not None:
                going.close()

    def close(self) -> None:
        """Close those that nobody uses."""
        self._close_oldest(0)

    def _taken(self, collection: str, version: Version | None, progress: Progress) -> _OpenCopy:
        with self._lock:
            copy = self._idle.pop(collection, None)
            self._used += 1
        try:
            if copy is not None and copy.goes_on_from(version, progress):
                return copy
            if copy is not None:
                copy.close()
            self._close_oldest(max(self._most - self._used, 0))
            return _OpenCopy(self._parts, self._start_merger, version, progress)
        except BaseException:
            with self._lock:
                self._used -= 1
            if copy is not None:
                copy.close()
            raise

    def _close_oldest(self, left: int) -> None:
        with self._lock:
            going = [self._idle.popitem(last=False)[1] for _ in range(len(self._idle) - left)]
        for copy in going:
            copy.close()


class _OpenCopy:
    """A directory that a child has open, and the copy of it that is published.

    Attributes:
        kept: what is kept of the version on which the next merge builds.
        scratch: where everything is.
        has_become: the id of the version that it is now; nothing while it is being changed.
    """

    def __init__(
        self,
        parts: Parts,
        start_merger: StartMerger,
        version: Version | None,
        progress: Progress,
    ) -> None:
        self._parts = parts
        self.kept: Kept | None = None
        self.has_become = ""
        # Of the copy, as it was when it was the version.
        self._stamps: Mapping[str, FileStamp] = {}
        self._stamped_at_ns = 0
        self._settled: dict[str, Any] = {}
        self._checks = Checks()
        with ExitStack() as held:
            self.scratch = held.enter_context(parts.checkouts.workspace())
            self._open, self._copy = self.scratch / "open", self.scratch / "copy"
            if version is not None:
                self.kept, _ = check_out(parts, version, self._open, progress)
            self._start_merger = start_merger
            self._merger = start_merger()
            held.callback(self._end_merger)
            size_bytes = version.manifest.size_bytes if version else 0
            # A limit that a process has accepted cannot be raised: it gets room to grow.
            self._limits = limits_for(_GROWTH * size_bytes, _CHANGES)
            self._largest_bytes = self._limits.file_size_bytes // _GROWTH
            self._held = held.pop_all()

    def goes_on_from(self, version: Version | None, progress: Progress) -> bool:
        """Begin the next merge, if it is one into this directory as it is."""
        if version is None or self.has_become != version.version_id:
            return False
        if version.manifest.size_bytes > self._largest_bytes:
            return False
        kept = self._parts.checkouts.bring(version, progress=progress)
        self.kept = replace(kept, checks=self._checks)
        self.has_become = ""
        return True

    def merge(self, request: Mapping[str, Any], *, limits: Limits, progress: Progress) -> Merged:
        """Merge into what is open, then bring the copy up to date."""
        if limits.file_size_bytes > self._limits.file_size_bytes:
            self._merger.close()
            self._merger = self._start_merger()
            self._limits = Limits(
                limits.timeout_s,
                memory_bytes=_GROWTH * limits.memory_bytes,
                file_size_bytes=_GROWTH * limits.file_size_bytes,
            )
        within = replace(self._limits, timeout_s=limits.timeout_s)
        answer = self._merger.run(
            "merge-on", {**request, "directory": str(self._open)}, limits=within, progress=progress
        )
        known = self.kept.known(self._stamps, self._stamped_at_ns) if self.kept else None
        self._stamped_at_ns = int(self._parts.clock.now().timestamp() * 1e9)
        if self._copied(limits):
            return Merged(self._copy, known, answer)
        # It is nobody's any more when its process has gone.
        self._merger.close()
        return Merged(self._open, None, answer)

    def keep(self, version: Version, sealed: Sealed) -> None:
        """Keep what changed, and go on from there."""
        checkouts = self._parts.checkouts
        if sealed.directory == self._open:
            checkouts.keep(version, sealed)
            return
        checkouts.keep_copy(version, sealed, self.kept)
        self._stamps = sealed.stamps
        self._checks = Checks()
        kept = checkouts.kept(version)
        if kept is not None:
            # Nobody waits now. The copy is of before this look, which is what it asks for.
            replace(kept, checks=self._checks).begin_check()
        self.has_become = version.version_id

    def close(self) -> None:
        """End the child, and remove everything."""
        self._held.close()

    def _end_merger(self) -> None:
        # Not always the one that was begun first.
        self._merger.close()

    def _copied(self, limits: Limits) -> bool:
        try:
            with step("copy live directory", directory=str(self._open)) as told:
                answer = self._parts.sandbox.run(
                    "copy-live",
                    {
                        "directory": str(self._open),
                        "target": str(self._copy),
                        "known": self._settled,
                        "budget_s": _BUDGET_S,
                        "attempts": _ATTEMPTS,
                    },
                    limits=limits,
                )
                told.note(consistent=answer["consistent"], copied_bytes=answer["copied_bytes"])
        except ChromasealError:
            # Whether the directory itself is sound is told when it is sealed and verified.
            return False
        self._settled = answer["stats"]
        # Such a copy has ChromaDB's files only; a directory that was pushed may have others.
        return bool(answer["consistent"]) and plain_files(self._open) == plain_files(self._copy)
