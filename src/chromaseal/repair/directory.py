"""A damaged ChromaDB directory -> the same records in a sound one, or all that can be read.

What can be believed is written into the log of an empty directory, and ChromaDB itself makes
tables and indexes of it. The damaged directory is only read; a repaired one takes its place in
one step, after a deep look, and the damaged one is kept beside it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chromaseal.errors import Conflict, Damaged
from chromaseal.repair.equipment import Equipment
from chromaseal.repair.placing import (
    bring_along,
    finish_placing,
    give_owners,
    refuse_mount_point,
    stamps,
    take_place,
)
from chromaseal.sandbox import Limits, Plain, StepProgress, limits_for, no_step_progress
from chromaseal.seal.examine import examine
from chromaseal.seal.sealed import refuse_unreadable, wait_until_closed
from chromaseal.seal.verdict import Level, Verdict, in_words
from chromaseal.snapshot.checkout import (
    cannot_write,
    refuse_occupied,
    sync_tree,
    taking_name,
    unfinished_beside,
)

_JOURNALS = ("-journal", "-wal")
# More than enough for a directory's collections; each may need three.
_SEGMENTS = 3_000
_SLOWEST_RECORDS_PER_S = 100


@dataclass(frozen=True, slots=True)
class RepairedDirectory:
    """What a repair came to.

    Attributes:
        problem: what was wrong; empty if nothing was.
        sources: what each collection was made from.
        records: how many there are.
        kept: where the damaged directory is now; None where it was left alone. Of a directory
            that is whole: where an earlier repair, which died, has left it.
    """

    problem: str = ""
    sources: tuple[str, ...] = ()
    records: int = 0
    kept: Path | None = None


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What could be read out of a directory.

    Attributes:
        collections: each ``name``, ``count``, ``lost``, ``doubtful``, ``sources``.
        missing: lines of the list of what is lost or in doubt.
        first: the first of them.
        list_path: where the list is.
    """

    collections: tuple[Plain, ...]
    missing: int
    first: tuple[Mapping[str, Any], ...]
    list_path: Path


def repair_directory(
    directory: Path,
    equipment: Equipment,
    *,
    dry_run: bool = False,
    progress: StepProgress = no_step_progress,
) -> RepairedDirectory:
    """Make a directory sound again, if every record and setting in it has a source.

    Args:
        directory: damaged, and open in no process.
        equipment: what it takes.
        dry_run: do everything but change the directory.
        progress: called with the step, and how much of it is done, of how much.

    Raises:
        Damaged: ``cannot-repair``: something is lost or in doubt; the message begins to say what.
        Conflict: ``still-open``, ``changed-while-reading`` or ``cannot-write``.
    """
    finished = None if dry_run else _finish(directory, equipment)
    verdict = _examine(directory, equipment, progress)
    if verdict.sound:
        return RepairedDirectory(records=_records(verdict), kept=finished)
    _refuse_unknown(directory, verdict)
    refuse_mount_point(directory)
    before = stamps(directory)
    with _workspace(directory, equipment) as workspace:
        made, answer = _Rebuilding(directory, workspace, equipment, progress).rebuild()
        had_journal = [name for name in before if name.endswith(_JOURNALS)]
        rolled_back = workspace / "copy"
        sources: tuple[str, ...]
        if had_journal and _examine(rolled_back, equipment, progress).sound:
            made, sources = rolled_back, (f"{had_journal[0]}, rolled back",)
        else:
            _refuse_incomplete(directory, answer)
            sources = tuple(_sources(answer))
        if made is not rolled_back:
            bring_along(rolled_back, made)
            _refuse_different(directory, answer)
        found = _examine(made, equipment, progress)
        _refuse_unsound(directory, found)
        problem = in_words([each for each in verdict.failed if each.check != "chromadb"])
        if dry_run:
            return RepairedDirectory(problem, sources, _records(found))
        give_owners(made, directory)
        kept = take_place(directory, made, before, equipment)
    return RepairedDirectory(problem, sources, _records(found), kept)


def salvage_directory(
    directory: Path,
    out: Path,
    equipment: Equipment,
    *,
    progress: StepProgress = no_step_progress,
) -> Salvaged:
    """Bring everything readable into a new directory, with a list of what is missing.

    Args:
        directory: damaged, and open in no process; it is only read.
        out: a directory that does not exist yet; the list is beside it, ``OUT.missing.jsonl``.
        equipment: what it takes.
        progress: called with the step.

    Raises:
        Conflict: ``directory-not-empty``, or ``still-open``.
        Damaged: ``cannot-salvage``: not one record can be believed.
    """
    list_path = out.with_name(f"{out.name}.missing.jsonl")
    refuse_occupied(out)
    if os.path.lexists(list_path):
        raise Conflict(
            f"{list_path} is there already",
            kind="directory-not-empty",
            hint="name a directory that does not exist yet",
        )
    wait_until_closed(directory, equipment.open_files, equipment.clock, 5.0)
    refuse_unreadable(directory)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _workspace(out, equipment) as workspace:
        made, answer = _Rebuilding(directory, workspace, equipment, progress).rebuild()
        verdict = _examine(made, equipment, progress)
        if not verdict.sound or not answer["collections"] or answer["differences"]:
            why = in_words(verdict.failed) or "; ".join(answer["differences"][:3])
            why = why or answer["problem"] or "it names no collection"
            raise Damaged(
                f"nothing can be read out of {directory}: {why}",
                kind="cannot-salvage",
                hint="restore it from a version: chromaseal pull COLLECTION DIR",
            )
        (workspace / "list").replace(list_path)
        sync_tree(made)
        with taking_name(out, durable=True):
            made.replace(out)
    return Salvaged(
        tuple(answer["collections"]), answer["lines"], tuple(answer["first"]), list_path
    )


class _Rebuilding:
    """One damaged directory, made anew in a workspace."""

    def __init__(
        self, directory: Path, workspace: Path, equipment: Equipment, progress: StepProgress
    ) -> None:
        self._directory = directory
        self._workspace = workspace
        self._sandbox = equipment.sandbox
        self._ids = equipment.ids
        self._progress = progress

    def rebuild(self) -> tuple[Path, Plain]:
        """Give the new directory, and what the job "salvage" said."""
        copy, target = self._workspace / "copy", self._workspace / "made"
        self._progress("copy", 0, 0)
        shutil.copytree(self._directory, copy, ignore=_not_plain)
        size_bytes = sum(each.size_bytes for each in stamps(copy).values())
        limits = limits_for(size_bytes)
        self._replay(target, limits)
        self._progress("read what can be read", 0, 0)
        answer = self._sandbox.run(
            "salvage",
            {
                "directory": str(copy),
                "target": str(target),
                "list": str(self._workspace / "list"),
                "segments": [self._ids.run_id() for _ in range(_SEGMENTS)],
            },
            limits=limits,
        )
        records = sum(each["count"] for each in answer["collections"])
        longer_s = limits.timeout_s + records / _SLOWEST_RECORDS_PER_S
        limits = Limits(longer_s, limits.memory_bytes, limits.file_size_bytes)
        self._progress("make it again from its log", 0, 0)
        self._replay(target, limits)
        self._replay(target, limits, full_text=True)
        self._progress("compare it with what was read", 0, 0)
        request = {"directory": str(copy), "target": str(target)}
        proved = self._sandbox.run("prove", request, limits=limits)
        return target, {**answer, "differences": proved["first"]}

    def _replay(self, directory: Path, limits: Limits, *, full_text: bool = False) -> None:
        request = {"directory": str(directory), "full_text": full_text}
        self._sandbox.run("replay", request, limits=limits)


def _finish(directory: Path, equipment: Equipment) -> Path | None:
    try:
        return finish_placing(directory, equipment.clock)
    except OSError as error:
        raise cannot_write(directory, error) from error


def _not_plain(folder: str, names: list[str]) -> set[str]:
    """Leave out links and devices: whatever they lead to is not this directory's."""
    paths = {name: Path(folder) / name for name in names}
    return {
        name
        for name, path in paths.items()
        if path.is_symlink() or not (path.is_file() or path.is_dir())
    }


def _examine(directory: Path, equipment: Equipment, progress: StepProgress) -> Verdict:
    return examine(
        directory,
        Level.DEEP,
        sandbox=equipment.sandbox,
        open_files=equipment.open_files,
        clock=equipment.clock,
        scratch=directory.parent,
        progress=progress,
    )


def _records(verdict: Verdict) -> int:
    counted = [f.evidence for f in verdict.findings if f.check == "records" and f.passed]
    return int(counted[0].split()[0]) if counted else 0


def _refuse_unknown(directory: Path, verdict: Verdict) -> None:
    for finding in verdict.failed:
        if finding.check == "plain-files":
            raise _cannot(directory, finding.evidence, "put the file itself in the link's place")
        if finding.check == "schema-known" and finding.evidence:
            why = f"its schema is none that this release knows: {finding.evidence}"
            raise _cannot(directory, why, "use a newer chromaseal")


def _refuse_incomplete(directory: Path, answer: Plain) -> None:
    if answer["complete"]:
        return
    first = "; ".join(_in_words(line) for line in answer["first"][:3])
    more = f"; {answer['lines'] - 3} more" if answer["lines"] > 3 else ""  # noqa: PLR2004
    why = f"no source on disk for all of it: {first}{more}" if first else "it names no collection"
    raise _cannot(directory, why, f"chromaseal salvage {directory} OUT saves the rest and lists it")


def _in_words(line: Mapping[str, Any]) -> str:
    named = f" {line['id']}" if "id" in line else ""
    parts = {**line.get("lost", {}), **line.get("doubtful", {})}
    said = ", ".join(f"{part}: {why}" for part, why in parts.items())
    return f"{line['what']}{named}{f' ({said})' if said else ''}"


def _refuse_different(directory: Path, answer: Plain) -> None:
    if answer["differences"]:
        why = f"what was made of it is not the same: {'; '.join(answer['differences'][:3])}"
        raise _cannot(directory, why, f"chromaseal salvage {directory} OUT")


def _refuse_unsound(directory: Path, found: Verdict) -> None:
    if not found.sound:
        why = f"what was made of it is not sound: {in_words(found.failed)}"
        raise _cannot(directory, why, f"chromaseal salvage {directory} OUT")


def _cannot(directory: Path, why: str, hint: str) -> Damaged:
    return Damaged(f"{directory} cannot be repaired: {why}", kind="cannot-repair", hint=hint)


def _sources(answer: Plain) -> Iterator[str]:
    for each in answer["collections"]:
        yield f"{each['name']}: {', '.join(each['sources']) or 'no records'}"


@contextlib.contextmanager
def _workspace(target: Path, equipment: Equipment) -> Iterator[Path]:
    """Give a directory on the same file system that goes in the end."""
    workspace = unfinished_beside(target, equipment.ids)
    try:
        workspace.mkdir()
        yield workspace
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
