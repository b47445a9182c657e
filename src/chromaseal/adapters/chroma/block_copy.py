"""Bringing a private copy up to date in place: only the blocks that differ are written."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

_BLOCK_BYTES = 1 << 20


def update_file(source: Path, target: Path, *, may_go_on: Callable[[], bool]) -> int | None:
    """Make ``target`` equal to what is read of ``source``.

    Args:
        source: a file that may be growing or shrinking meanwhile.
        target: its copy of an earlier time, or no file.
        may_go_on: asked before each block.

    Returns:
        How many bytes were written; None if it was told to stop.
    """
    target.parent.mkdir(exist_ok=True)
    with ExitStack() as opened:
        reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        opened.callback(os.close, reading)
        writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        opened.callback(os.close, writing)
        written = position = 0
        while may_go_on():
            block = os.pread(reading, _BLOCK_BYTES, position)
            if not block:
                os.ftruncate(writing, position)
                return written
            if os.pread(writing, len(block), position) != block:
                written += _write(writing, block, position)
            position += len(block)
    return None


def remove_others(target: Path, wanted: frozenset[str]) -> list[str]:
    """Remove the files of a copy that its original does not have; give their paths."""
    gone = []
    for path in sorted(target.rglob("*"), reverse=True):
        name = path.relative_to(target).as_posix()
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif name not in wanted:
            path.unlink()
            gone.append(name)
    return gone


def _write(descriptor: int, block: bytes, position: int) -> int:
    done = 0
    while done < len(block):
        done += os.pwrite(descriptor, memoryview(block)[done:], position + done)
    return done
