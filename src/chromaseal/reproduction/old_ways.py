"""How directories were copied and uploaded: file by file, whatever their writer does meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from chromaseal.clock import Clock

_BLOCK_BYTES = 256 * 1024


class Pace:
    """Holds whoever copies to a speed.

    Args:
        bytes_per_s: the speed.
        clock: for the waiting.
    """

    def __init__(self, bytes_per_s: int, clock: Clock) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._start_s = clock.monotonic_s()
        self._done_bytes = 0

    def __call__(self, copied_bytes: int) -> None:
        """Wait until it is time for more."""
        self._done_bytes += copied_bytes
        due_s = self._start_s + self._done_bytes / self._bytes_per_s
        left_s = due_s - self._clock.monotonic_s()
        if left_s > 0:
            self._clock.sleep(left_s)


def at_full_speed(copied_bytes: int) -> None:
    """Wait for nothing."""


def walked_files(directory: Path) -> Iterator[str]:
    """Give a directory's files in the order in which a walk finds them."""
    for folder, _, names in os.walk(directory):
        for name in names:
            yield (Path(folder) / name).relative_to(directory).as_posix()


def copy_files(source: Path, target: Path, pace: Callable[[int], None] = at_full_speed) -> None:
    """Copy a directory's files one after another.

    Args:
        source: a directory that may be written meanwhile.
        target: the new directory.
        pace: told of each block that was copied.
    """
    for path in walked_files(source):
        copy_file(source / path, target / path, pace)


def copy_file(source: Path, target: Path, pace: Callable[[int], None] = at_full_speed) -> None:
    """Copy as much of a file as there is when it is opened, as an upload does.

    A journal that is gone by now is left out.
    """
    try:
        reading = source.open("rb")
    except FileNotFoundError:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with reading, target.open("wb") as writing:
        left_bytes = os.fstat(reading.fileno()).st_size
        while block := reading.read(min(_BLOCK_BYTES, left_bytes)):
            writing.write(block)
            left_bytes -= len(block)
            pace(len(block))
