"""The whole experiment: an application that writes, copies of its directory, pointers, uploads.

Nothing in it is played: ChromaDB writes, files are copied while it does, versions are published
and fetched, and every copy is checked and opened by stock ChromaDB.
"""

from __future__ import annotations

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
_WAYS = (Way.UPLOAD, Way.FAST_COPY, Way.REPLICATE)


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
    shown = _shown(progress, "first records")
    with RunningApplication(laboratory.sandbox, live, plan, progress=shown) as application:
        older, newer = folder / "older", folder / "newer"
        _replicate(vault, live, older)
        trials = _Copies(vault, application, examination, folder, keep)
        for number in range(1, copies + 1):
            progress("copies", number - 1, copies)
            yield from trials.of_each_way(number)
        _replicate(vault, live, newer)
    yield from half_uploads(
        vault,
        examination,
        (older, newer),
        folder / "uploads",
        keep=keep,
        progress=_shown(progress, "uploads that stop half-way"),
    )
    yield from two_compactors(
        vault,
        folder / "runs",
        plan_of(plan),
        keep=keep,
        progress=_shown(progress, "two compactors"),
    )


class _Copies:
    """Takes copies of a directory that is being written.

    Args:
        vault: what chromaseal publishes to.
        application: the one that writes.
        examination: looks at each copy.
        folder: where copies are made.
        keep: where bad ones stay.
    """

    def __init__(
        self,
        vault: Vault,
        application: RunningApplication,
        examination: Examination,
        folder: Path,
        keep: Path | None,
    ) -> None:
        self._vault = vault
        self._application = application
        self._examination = examination
        self._folder = folder
        self._keep = keep

    def of_each_way(self, number: int) -> list[Trial]:
        """Take a copy each way while the application writes, then look at them all."""
        copies = {way: self._folder / f"{way}-{number:02d}" for way in _WAYS}
        for way, copy in copies.items():
            self._take(way, copy)
        with self._application.resting():
            found = self._examination.look_at_all(list(copies.values()), keep=self._keep)
        return [each.trial(way, number) for way, each in zip(copies, found, strict=True)]

    def _take(self, way: Way, copy: Path) -> None:
        live = self._application.directory
        if way is Way.UPLOAD:
            copy_files(live, copy, Pace(UPLOAD_BYTES_PER_S, self._vault.parts.clock))
        elif way is Way.FAST_COPY:
            copy_files(live, copy)
        else:
            _replicate(self._vault, live, copy)


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
