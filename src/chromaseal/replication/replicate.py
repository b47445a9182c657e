"""A directory that an application keeps writing -> a version whenever it has changed.

A copy is taken from a process of its own, sealed and verified like any other directory, and
published. What does not verify is thrown away and copied anew; it is never published.

::

    <root>/<vault id>/<collection>/replicas/<digest of the directory's path>/directory/
    <root>/<vault id>/<collection>/replicas/<digest of the directory's path>/known.json
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from chromaseal import keys
from chromaseal.digests import blake3_hex
from chromaseal.errors import Damaged, Unavailable
from chromaseal.parts import Parts
from chromaseal.replication.origins import origin_of, origins_of
from chromaseal.replication.push import Commit, Pushed, not_the_newest
from chromaseal.sandbox import limits_for
from chromaseal.snapshot.history import Head

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
        Damaged: ``hot-journal`` and the like: the directory itself is not sound.
    """
    keys.check_collection(collection)
    replica = _Replica(parts, directory, collection, replace=replace)
    while not stop():
        try:
            done = replica.publish()
        except Unavailable as error:
            done = Skipped(error.message)
        if done is not None:
            yield done
        parts.clock.sleep(interval_s)


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

    def publish(self) -> Replicated | None:
        """Copy once and publish what changed; None if nothing did."""
        answer = self._copy()
        if not answer["consistent"]:
            return Skipped(answer["reason"])
        try:
            pushed = self._commit()
        except Damaged as error:
            if error.kind != "failed-verification":
                raise
            shutil.rmtree(self._folder, ignore_errors=True)
            return Skipped(error.message)
        return pushed if pushed.new else None

    def _copy(self) -> dict[str, Any]:
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
            limits=limits_for(_size_bytes(self._live)),
        )
        boot_id = self._parts.checkouts.boot_id
        self._known_path.write_text(json.dumps({"boot_id": boot_id, "stats": answer["stats"]}))
        return answer

    def _commit(self) -> Pushed:
        origin = self._origins.read(self._directory)
        first = origin or self._origins.read(self._live)

        def from_newest(found: Head) -> None:
            if found.version is None or self._replace:
                return
            if first is not None and first.version_id == found.version.version_id:
                return
            if not self._origins.made(self._directory, found.version):
                raise not_the_newest(self._live, found.version, first)

        announce = functools.partial(self._origins.announce, self._directory)
        commit = Commit(self._parts, self._collection, announce=announce)
        pushed = commit.run(self._directory, origin, check=from_newest)
        if commit.sealed is not None:
            known = origin_of(pushed.version, commit.sealed.stamps, commit.sealed_at_ns)
            self._origins.write(self._directory, known)
        return pushed

    def _read_known(self) -> dict[str, Any] | None:
        try:
            plain = json.loads(self._known_path.read_text())
        except (OSError, ValueError, KeyError, TypeError):
            return None
        # A power cut can leave a file with the right stamp and without its content.
        same_boot = isinstance(plain, dict) and plain["boot_id"] == self._parts.checkouts.boot_id
        return dict(plain["stats"]) if same_boot else None


def _size_bytes(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())
