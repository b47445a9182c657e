"""A directory -> who holds it, seen through this machine's /proc and a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

from chromaseal.adapters.chroma.lock_probe import probe
from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.clock import Clock, SystemClock
from chromaseal.seal import locks
from chromaseal.seal.locks import LocksReport
from chromaseal.seal.sealed import not_chromadb


def examine_locks(
    directory: Path, *, wait_s: float = 0.0, clock: Clock | None = None
) -> LocksReport:
    """Tell who has a directory's files open, mapped or locked, and what to close.

    No file of the directory is opened in this process, so nobody's lock is dropped.

    Args:
        directory: a ChromaDB directory.
        wait_s: how long to wait until it is closed.
        clock: the system's by default.

    Raises:
        RefusedInput: ``not-chromadb``, and nobody has anything of it open.
        Unsupported: ``no-proc``.
    """
    if directory.is_file():
        raise not_chromadb(directory)
    open_files = ProcOpenFiles()
    return locks.examine_locks(
        directory,
        lambda: (open_files.look(directory), probe(directory)),
        clock=clock or SystemClock(),
        own_pid=os.getpid(),
        wait_s=wait_s,
    )
