"""Directories that no vault needs to know: what looks at them, put together."""

from __future__ import annotations

from pathlib import Path

from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.replication.push import refuse_not_chromadb
from chromaseal.sandbox import StepProgress, no_step_progress
from chromaseal.seal.examine import examine
from chromaseal.seal.quiet import HEADER
from chromaseal.seal.verdict import Level, Verdict

# One reads the files while ChromaDB answers in another.
_AT_ONCE = 2
_READING = ("chromaseal.adapters.chroma.verification",)
_ASKING = (*_READING, "chromaseal.adapters.chroma.questions")


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
    if not any(directory.glob(f"*/{HEADER}")):
        # Where there is an index, a missing database is a finding.
        refuse_not_chromadb(directory)
    modules = _ASKING if level is Level.DEEP else _READING
    sandbox = SandboxPool([ProcessSandbox(preload=modules) for _ in range(_AT_ONCE)])
    try:
        return examine(
            directory,
            level,
            sandbox=sandbox,
            open_files=ProcOpenFiles(),
            clock=SystemClock(),
            progress=progress,
        )
    finally:
        sandbox.close()
