"""A directory that an application keeps writing -> a version whenever it has changed.

A copy is taken from a process of its own, sealed and verified like any other directory, and
published. What does not verify is thrown away and copied anew; it is never published.

::

    <root>/<vault id>/<collection>/replicas/<digest of the directory's path>/directory/
    <root>/<vault id>/<collection>/replicas/<digest of the directory's path>/known.json
    <root>/<vault id>/<collection>/replicas/<digest of the directory's path>.lock
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from chromaseal import keys
from chromaseal.digests import blake3_hex
from chromaseal.errors import Conflict, Damaged, Unavailable
from chromaseal.parts import Parts
from chromaseal.replication.origins import Lineage, Origin, origin_of, origins_of, write_whole
from chromaseal.replication.push import Commit, Pushed, not_the_newest
from chromaseal.sandbox import limits_for
from chromaseal.seal.sealed import refuse_not_chromadb
from chromaseal.snapshot.checkout import cannot_write
from chromaseal.snapshot.history import Head
from chromaseal.telemetry.emit import event, step
from chromaseal.telemetry.observer import Severity

BUDGET_S = 0.2
_ATTEMPTS = 6


@dataclass(frozen=True, slots=True)
class Skipped:
    """A time at which nothing was published, and why."""

    reason: str


Replicated: TypeAlias = Pushed | Skipped


def replicate(
    parts: Parts,
    directory: Path,
    collection: str,
    *,
    interval_s: float = 1.0,
    replace: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Replicated]:
    """Publish a directory as an application changes it.

    The application is held back for milliseconds at a time, never for more than 250; its
    directory is read, not written.

    Args:
        parts: what the vault consists of.
        directory: a ChromaDB directory; any process may have it open.
        collection: the name in the vault.
        interval_s: how long to wait between two copies.
        replace: publish it also where it was not made from the newest version.
        stop: asked before each copy; True ends it.

    Yields:
        Each version that was published, and each time that nothing could be.

    Raises:
        Conflict: ``not-the-newest``, somebody else publishes to the collection.
        Conflict: ``already-replicated``, this machine does so already; ``cannot-write``, in this
            machine's cache.
        RefusedInput: ``not-chromadb``.
        Damaged: ``hot-journal`` and the like: the directory itself is not sound.
    """
    keys.check_collection(collection)
    refuse_not_chromadb(directory)
    replica = _Replica(parts, directory, collection, replace=replace)
    with replica.held_alone():
        while not stop():
            try:
                done = replica.publish()
            except Unavailable as error:
                done = Skipped(error.message)
            if done is not None:
                yield done
            parts.clock.sleep(interval_s)


# What the child's answer says of the copying.
_TOLD = ("attempts", "consistent", "copied_bytes", "locked_s", "under_lock")


class _Replica:
    """A private copy of somebody's directory that is brought up to date again and again."""

    def __init__(self, parts: Parts, directory: Path, collection: str, *, replace: bool) -> None:
        self._parts = parts
        self._live = directory
        self._collection = collection
        self._replace = replace
        folder = parts.checkouts.folder(collection)
        name = blake3_hex(str(directory.resolve()).encode())[:32]
        self._folder = folder / "replicas" / name
        self._directory = self._folder / "directory"
        self._known_path = self._folder / "known.json"
        self._origins = origins_of(parts, collection)

    @contextlib.contextmanager
    def held_alone(self) -> Iterator[None]:
        """Keep every other process of this machine from the copy.

        Raises:
            Conflict: ``already-replicated`` or ``cannot-write``.
        """
        # Beside the folder, which goes and comes.
        path = self._folder.with_name(f"{self._folder.name}.lock")
        with contextlib.ExitStack() as held:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = held.enter_context(path.open("ab"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict(
                    f"this machine replicates {self._live} to {self._collection} already",
                    kind="already-replicated",
                    hint="leave it to that one, or stop it first",
                ) from error
            except OSError as error:
                raise cannot_write(path, error) from error
            yield

    def publish(self) -> Replicated | None:
        """Copy once and publish what changed; None if nothing did."""
        with self._origins.locked(self._live):
            lineage = self._origins.lineage(self._live)
            with step("copy live directory", collection=self._collection) as told:
                answer = self._copy()
                told.note(**{name: answer[name] for name in _TOLD})
        if not answer["consistent"]:
            event("nothing published", collection=self._collection, reason=answer["reason"])
            return Skipped(answer["reason"])
        try:
            pushed = self._commit(lineage)
        except Damaged as error:
            if error.kind != "failed-verification":
                raise
            event(
                "nothing published",
                Severity.WARNING,
                collection=self._collection,
                reason=error.kind,
            )
            shutil.rmtree(self._folder, ignore_errors=True)
            return Skipped(error.message)
        return pushed if pushed.new else None

    def _copy(self) -> dict[str, Any]:
        limits = limits_for(_size_bytes(self._live))
        try:
            known = self._read_known()
            # Whoever dies in the middle leaves a copy without this file, which is thrown away.
            self._known_path.unlink(missing_ok=True)
            if known is None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._directory.mkdir(parents=True)
            answer = self._parts.sandbox.run(
                "copy-live",
                {
                    "directory": str(self._live.absolute()),
                    "target": str(self._directory),
                    "known": known or {},
                    "budget_s": BUDGET_S,
                    "attempts": _ATTEMPTS,
                },
                limits=limits,
            )
            boot_id = self._parts.checkouts.boot_id
            told = json.dumps({"boot_id": boot_id, "stats": answer["stats"]})
            write_whole(self._known_path, told, self._parts.ids)
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        return answer

    def _commit(self, lineage: Lineage) -> Pushed:
        """Publish the copy.

        Args:
            lineage: what was known of the live directory when it was copied. What it is made
                from is decided by that alone: the copy's own past says nothing of a directory
                that was brought to another version since, and what is known by now may be of a
                content that came after the copy.
        """

        def from_newest(found: Head) -> None:
            if found.version is None or self._replace or lineage.leads_to(found.version):
                return
            raise not_the_newest(self._live, found.version, lineage.origin)

        def announce(attempt: str) -> None:
            with self._if_still(lineage) as still:
                if still:
                    self._origins.announce(self._live, attempt)

        commit = Commit(self._parts, self._collection, announce=announce)
        origin = self._origins.read(self._directory)
        pushed = commit.run(self._directory, origin, check=from_newest)
        if commit.sealed is not None:
            known = origin_of(pushed.version, commit.sealed.stamps, commit.sealed_at_ns)
            self._origins.write(self._directory, known)
            self._remember(known, lineage)
        return pushed

    def _remember(self, known: Origin, lineage: Lineage) -> None:
        """Remember that the live directory was a version; it may have been changed since."""
        if lineage.origin is not None and lineage.origin.version_id == known.version_id:
            return
        with self._if_still(lineage) as still:
            if still:
                self._origins.write(self._live, dataclasses.replace(known, stamps={}))

    @contextlib.contextmanager
    def _if_still(self, lineage: Lineage) -> Iterator[bool]:
        """Tell whether the live directory was neither pulled nor pushed since it was copied."""
        with self._origins.locked(self._live):
            yield self._origins.read(self._live) == lineage.origin

    def _read_known(self) -> dict[str, Any] | None:
        try:
            plain = json.loads(self._known_path.read_text())
            # A power cut can leave a file with the right stamp and without its content.
            same_boot = plain["boot_id"] == self._parts.checkouts.boot_id
            return dict(plain["stats"]) if same_boot else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _size_bytes(directory: Path) -> int:
    """Add up the files of a directory in which files come and go."""
    size_bytes = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                status = (Path(folder) / name).lstat()
                size_bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return size_bytes
