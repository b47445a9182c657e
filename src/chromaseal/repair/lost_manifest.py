"""A newest version whose manifest is lost -> a version that follows the one before it.

What this machine keeps of the lost version is the same content. Without that the version before
is published again, and only where it is proved that nothing is lost by it: whatever the lost one
had beside it came from runs whose deltas are stored, and those wait again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from chromaseal import keys
from chromaseal.clock import to_iso
from chromaseal.compaction.deltas import read_delta, read_stored
from chromaseal.compaction.plan import runs_to_repeat
from chromaseal.errors import ChromasealError, Damaged, NotFound, Unsupported
from chromaseal.parts import Parts
from chromaseal.pin import read_pin
from chromaseal.run.model import Run, RunState
from chromaseal.sandbox import StepProgress, limits_for
from chromaseal.seal.examine import examine
from chromaseal.seal.sealed import seal
from chromaseal.seal.verdict import Level
from chromaseal.seal.verify import verify
from chromaseal.snapshot.cancellations import read_marks
from chromaseal.snapshot.history import Head, line, merged_runs
from chromaseal.snapshot.kept import Kept
from chromaseal.snapshot.manifest import MergedRun, Version
from chromaseal.snapshot.publish import Draft, publish
from chromaseal.verification.lost_version import LostVersion, noted_runs


def runs_in(parts: Parts, lost: LostVersion) -> tuple[MergedRun, ...]:
    """Give the runs of which the ledger notes that the lost version has them."""
    runs: Iterable[Run] = ()
    try:
        runs = noted_runs(parts, lost)
    except ChromasealError:
        # A run that a version has and does not name is merged once more, which changes nothing
        # unless later ones came before it.
        runs = ()
    return tuple(MergedRun(run.run_id, run.created_at, lost.number) for run in runs)


def refuse_undoing(parts: Parts, lost: LostVersion, before: Version) -> None:
    """Let nothing count as pushed where a run that it may have had would undo later ones.

    Raises:
        Damaged: ``cannot-repair``, a run that no version has is older than one that the version
            before has: merged on top of what was pushed, it would come last; or nobody knows
            how old it is.
    """
    if runs_in(parts, lost):
        return
    store, merged = parts.store, merged_runs(line(parts.store, before))
    known = read_marks(store, lost.collection) | {run.run_id for run in merged.contained}
    for info in store.list(keys.deltas(lost.collection)):
        named = keys.parse_delta(info.key)
        if named is None or named[1] in known:
            continue
        try:
            delta = read_stored(store, parts.codec, info.key)[0]
        except (Damaged, NotFound, Unsupported) as error:
            why = f"the delta of run {named[1]} cannot be read: {error.message}"
            raise lost.cannot(why, before) from error
        if runs_to_repeat([delta], merged.effective):
            why = f"nothing says whether it had run {named[1]}, which must not come after others"
            raise lost.cannot(why, before)


def prove_kept(parts: Parts, kept: Kept, directory: Path, progress: StepProgress) -> bool:
    """Copy what is kept, page by page against its digests, and look at it deeply."""
    try:
        parts.checkouts.copy_kept(kept, directory)
    except Damaged:
        return False
    return examine(
        directory,
        Level.DEEP,
        sandbox=parts.sandbox,
        open_files=parts.open_files,
        clock=parts.clock,
        scratch=directory.parent,
        progress=progress,
    ).sound


def merge_first(
    parts: Parts, lost: LostVersion, runs: Sequence[Run], directory: Path, progress: StepProgress
) -> None:
    """Make the content of a lost first version, which had these runs and nothing else."""
    progress("merge", 0, 0)
    pin = read_pin(parts.store, lost.collection)
    if pin is None:
        raise lost.cannot("the collection has no pin")
    paths, changes = [], 0
    for number, run in enumerate(runs):
        delta, body = read_delta(parts.store, parts.codec, run, pin)
        path = directory.parent / f"delta-{number}{parts.codec.suffix}"
        path.write_bytes(body or parts.codec.encode(delta))
        paths.append(str(path))
        changes += len(delta)
    parts.sandbox.run(
        "merge",
        {
            "directory": str(directory),
            "collection": lost.collection,
            "space": pin.space,
            "default_model": pin.is_chroma_default,
            "deltas": paths,
        },
        limits=limits_for(0, changes),
    )


def publish_again(
    parts: Parts, lost: LostVersion, found: Head, directory: Path, progress: StepProgress
) -> Version:
    """Publish a directory with the content of a lost version, after the version before it."""
    progress("publish", 0, 0)
    pin = read_pin(parts.store, lost.collection)
    sealed = seal(directory, open_files=parts.open_files, clock=parts.clock)
    runs = runs_in(parts, lost)
    draft = Draft(
        collection=lost.collection,
        head=found,
        model=pin.model if pin else None,
        runs=runs,
        writer=parts.writer,
        fresh_base=True,
    )
    version = publish(
        parts.store,
        verify(sealed, sandbox=parts.sandbox),
        draft,
        kept=None,
        attempt=parts.ids.unique(),
        clock=parts.clock,
        progress=lambda done, total: progress("publish", done, total),
    )
    if runs:
        parts.ledger.move(
            [run.run_id for run in runs],
            lost.collection,
            states=[RunState.COMPLETED],
            to=RunState.COMPLETED,
            at=to_iso(parts.clock.now()),
            version_id=version.version_id,
        )
    return version
