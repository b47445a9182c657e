"""The whole experiment: an application that writes, copies of its directory, pointers, uploads.

Nothing in it is played: ChromaDB writes, files are copied while it does, versions are published
and fetched, and every copy is checked and opened by stock ChromaDB.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chromaseal.errors import Unavailable
from chromaseal.replication.push import Pushed
from chromaseal.reproduction.application import COLLECTION, Plan
from chromaseal.reproduction.compactors import plan_of, two_compactors
from chromaseal.reproduction.examination import Examination
from chromaseal.reproduction.half_uploads import half_uploads
from chromaseal.reproduction.old_ways import Pace, copy_files
from chromaseal.reproduction.running import RunningApplication
from chromaseal.reproduction.trial import Trial, Way
from chromaseal.sandbox import Sandbox, StepProgress, no_step_progress
from chromaseal.snapshot.checkout import refuse_occupied
from chromaseal.vault import Vault

UPLOAD_BYTES_PER_S = 50_000_000
# A copy is tried up to six times each; a machine on which that never succeeds has no time at all.
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Laboratory:
    """What the experiment works with.

    Attributes:
        vault: an empty one.
        sandbox: where the application runs; nobody else uses it.
        folder: for all that is copied; it goes with the experiment.
    """

    vault: Vault
    sandbox: Sandbox
    folder: Path


def reproduce(
    laboratory: Laboratory,
    plan: Plan,
    *,
    copies: int,
    keep: Path | None = None,
    progress: StepProgress = no_step_progress,
) -> Iterator[Trial]:
    """Try every way beside a writing application, then what else the incident was about.

    Args:
        laboratory: what to work with.
        plan: what the application writes.
        copies: how many to take, each way.
        keep: a folder for the copies that turn out bad.
        progress: called with the step, and how much of it is done, of how much.

    Yields:
        A trial each.

    Raises:
        Conflict: ``directory-not-empty``, something is in ``keep``.
        Unavailable: no consistent copy was to be had at all.
    """
    if keep is not None:
        refuse_occupied(keep)
    laboratory.vault.warm_up()
    folder, vault = laboratory.folder, laboratory.vault
    examination = Examination(vault.parts, plan, folder)
    live = folder / "live"
    with RunningApplication(
        laboratory.sandbox, live, plan, progress=_shown(progress, "first records")
    ):
        older, newer = folder / "older", folder / "newer"
        _replicate(vault, live, older)
        trials = _Copies(vault, live, examination, folder / "copy", keep)
        for number in range(1, copies + 1):
            progress("copies", number - 1, copies)
            for way in (Way.UPLOAD, Way.FAST_COPY, Way.REPLICATE):
                yield trials.one(way, number)
        _replicate(vault, live, newer)
    yield from half_uploads(
        vault,
        examination,
        (older, newer),
        folder / "uploads",
        progress=_shown(progress, "uploads that stop half-way"),
    )
    yield from two_compactors(
        vault, folder / "runs", plan_of(plan), progress=_shown(progress, "two compactors")
    )


class _Copies:
    """Takes copies of a directory that is being written.

    Args:
        vault: what chromaseal publishes to.
        live: the application's directory.
        examination: looks at each copy.
        copy: where each copy is made.
        keep: where bad ones stay.
    """

    def __init__(
        self, vault: Vault, live: Path, examination: Examination, copy: Path, keep: Path | None
    ) -> None:
        self._vault = vault
        self._live = live
        self._examination = examination
        self._copy = copy
        self._keep = keep

    def one(self, way: Way, number: int) -> Trial:
        """Take a copy and look at it."""
        self._take(way)
        trial = self._examination.look(self._copy).trial(way, number)
        if trial.bad and self._keep is not None:
            shutil.copytree(self._copy, self._keep / f"{way}-{number:02d}")
        shutil.rmtree(self._copy)
        return trial

    def _take(self, way: Way) -> None:
        if way is Way.UPLOAD:
            pace = Pace(UPLOAD_BYTES_PER_S, self._vault.parts.clock)
            copy_files(self._live, self._copy, pace)
        elif way is Way.FAST_COPY:
            copy_files(self._live, self._copy)
        else:
            _replicate(self._vault, self._live, self._copy)


def _replicate(vault: Vault, live: Path, target: Path) -> None:
    """Publish the directory as `chromaseal replicate` does, then pull the version."""
    reasons = []
    for done in vault.replicate(live, COLLECTION, interval_s=0.01):
        if isinstance(done, Pushed):
            vault.pull(COLLECTION, target, at=done.version.version_id)
            return
        reasons.append(done.reason)
        if len(reasons) == _TRIES:
            break
    raise Unavailable(
        f"{live} could not be copied {_TRIES} times; the last time: {reasons[-1]}",
        hint="run the same command again when the machine has less to do",
    )


def _shown(progress: StepProgress, step: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(step, done, total)
