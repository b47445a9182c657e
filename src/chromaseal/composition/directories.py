"""Directories that no vault needs to know: what looks at them, put together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from chromaseal.adapters.chroma.open_files import ProbedOpenFiles
from chromaseal.adapters.linux.exchange import exchange
from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.errors import Conflict, UsageError
from chromaseal.ids import SystemIds
from chromaseal.repair import directory as rebuilding
from chromaseal.repair.directory import RepairedDirectory, Salvaged
from chromaseal.repair.equipment import Equipment
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.seal.examine import examine
from chromaseal.seal.quiet import HEADER
from chromaseal.seal.sealed import refuse_not_chromadb
from chromaseal.seal.verdict import Level, Verdict
from chromaseal.telemetry.emit import step

# One reads the files while ChromaDB answers in another.
_AT_ONCE = 2
_READING = ("chromaseal.adapters.chroma.verification",)
_ASKING = (*_READING, "chromaseal.adapters.chroma.questions")
_MAKING = (*_ASKING, "chromaseal.adapters.chroma.replay", "chromaseal.adapters.chroma.salvage")


def verify_directory(
    directory: Path | str,
    level: Level | str = Level.QUICK,
    *,
    progress: StepProgress = no_step_progress,
) -> Verdict:
    """Look at a ChromaDB directory that no process has open.

    Args:
        directory: any ChromaDB directory; it is only read.
        level: ``presence``, ``quick`` or ``deep``.
        progress: called with the step.

    Raises:
        RefusedInput: ``not-chromadb``.
        Conflict: ``still-open`` or ``changed-while-reading``: no verdict is possible.
    """
    directory, level = Path(directory), Level(level)
    _refuse_not_chromadb(directory)
    modules = _ASKING if level is Level.DEEP else _READING
    sandbox = SandboxPool([ProcessSandbox(preload=modules) for _ in range(_AT_ONCE)])
    try:
        return examine(
            directory,
            level,
            sandbox=sandbox,
            open_files=ProbedOpenFiles(ProcOpenFiles()),
            clock=SystemClock(),
            progress=progress,
        )
    finally:
        sandbox.close()


def repair_directory(
    directory: Path | str,
    *,
    dry_run: bool = False,
    progress: StepProgress = no_step_progress,
) -> RepairedDirectory:
    """Make a damaged ChromaDB directory sound again from what is left in it.

    Args:
        directory: open in no process; it is kept beside the repaired one.
        dry_run: make it all and prove it, but change nothing.
        progress: called with the step.

    Raises:
        RefusedInput: ``not-chromadb``.
        Damaged: ``cannot-repair``: something in it has no source.
        Conflict: ``still-open`` or ``changed-while-reading``.
    """
    # What is made has to lie beside it, not in it, and a link is to go on leading to it.
    directory = Path(directory).resolve()
    _refuse_not_chromadb(directory)
    with step("repair", directory=str(directory)), _equipment() as equipment:
        return rebuilding.repair_directory(directory, equipment, dry_run=dry_run, progress=progress)


def salvage_directory(
    directory: Path | str, out: Path | str, *, progress: StepProgress = no_step_progress
) -> Salvaged:
    """Bring all that can be read of a ChromaDB directory into a new one, and list what is missing.

    Args:
        directory: open in no process; it is only read.
        out: a directory that does not exist yet; the list is ``OUT.missing.jsonl``.
        progress: called with the step.

    Raises:
        RefusedInput: ``not-chromadb``.
        UsageError: ``out`` lies in ``directory``.
        Conflict: ``directory-not-empty`` or ``still-open``.
        Damaged: ``cannot-salvage``: nothing can be read.
    """
    directory, out = Path(directory).resolve(), Path(out).resolve()
    _refuse_not_chromadb(directory)
    if out.exists() and not out.is_dir():
        raise Conflict(
            f"{out} is a file",
            kind="directory-not-empty",
            hint="name a directory that does not exist yet",
        )
    if out.is_relative_to(directory):
        raise UsageError(
            f"{out} lies in {directory}, which is only read", hint="name a directory beside it"
        )
    with step("salvage", directory=str(directory)), _equipment() as equipment:
        return rebuilding.salvage_directory(directory, out, equipment, progress=progress)


@contextlib.contextmanager
def _equipment() -> Iterator[Equipment]:
    sandbox = SandboxPool([ProcessSandbox(preload=_MAKING) for _ in range(_AT_ONCE)])
    try:
        yield Equipment(
            sandbox, ProbedOpenFiles(ProcOpenFiles()), SystemClock(), SystemIds(), exchange
        )
    finally:
        sandbox.close()


def _refuse_not_chromadb(directory: Path) -> None:
    if not any(directory.glob(f"*/{HEADER}")):
        # Where there is an index, a missing database is a finding.
        refuse_not_chromadb(directory)
