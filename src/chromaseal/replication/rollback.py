"""An older version's content -> the next version."""

from __future__ import annotations

from chromaseal.errors import Conflict
from chromaseal.parts import Parts
from chromaseal.replication.push import Commit, Pushed
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.snapshot.find import VersionName, find


def rollback(
    parts: Parts, collection: str, at: VersionName, *, progress: StepProgress = no_step_progress
) -> Pushed:
    """Publish an older version's content as the next version.

    Nothing is taken away: the versions in between stay, and the runs that they merged count as
    contained, so that nobody merges them again.

    Args:
        parts: what the vault consists of.
        collection: whose.
        at: a number, an id, a tag or a time.
        progress: called with the step, and how much of it is done, of how much.

    Raises:
        NotFound: ``no-version`` or ``removed-version``.
        Conflict: ``already-newest``.
    """
    old = find(parts.store, collection, at, clock=parts.clock)
    newest = find(parts.store, collection, clock=parts.clock)
    if old.version_id == newest.version_id:
        raise Conflict(
            f"{old.version_id} is the newest version of {collection} already",
            kind="already-newest",
            hint=f"chromaseal log {collection}",
        )
    with parts.checkouts.workspace() as workspace:
        directory = workspace / "directory"
        parts.checkouts.copy(old, directory)
        commit = Commit(parts, collection, restores=old.manifest.number, progress=progress)
        return commit.run(directory, None)
