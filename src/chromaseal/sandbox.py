"""Work in a child process, as the engine sees it: bounded, and closed by the child's exit.

ChromaDB keeps files open past every ``close()``, and damaged files can hang or kill the process
that opens them. So whatever opens a ChromaDB directory runs in a child with limits; when the
child has exited, the kernel has closed everything it had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Plain: TypeAlias = dict[str, Any]
Progress: TypeAlias = Callable[[int, int], None]
StepProgress: TypeAlias = Callable[[str, int, int], None]
Job: TypeAlias = Callable[[Plain, Progress], Plain]

_GIB = 1 << 30
_SLOWEST_BYTES_PER_S = 2_000_000
_SLOWEST_CHANGES_PER_S = 50


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use up before it is killed.

    Attributes:
        timeout_s: wall-clock time.
        memory_bytes: address space.
        file_size_bytes: any one file that it writes.
    """

    timeout_s: float
    memory_bytes: int
    file_size_bytes: int


def limits_for(directory_bytes: int, changes: int = 0) -> Limits:
    """Give limits that healthy work stays far below and runaway work does not.

    A damaged index was seen to write 498 GB in 6 s; a healthy merge of any size measured stays
    under a tenth of these.
    """
    return Limits(
        timeout_s=120 + directory_bytes / _SLOWEST_BYTES_PER_S + changes / _SLOWEST_CHANGES_PER_S,
        memory_bytes=16 * _GIB + 6 * directory_bytes,
        file_size_bytes=1 * _GIB + 3 * directory_bytes + 100_000 * changes,
    )


class Sandbox(Protocol):
    """Where jobs run."""

    def start(self) -> None:
        """Begin what takes long, so that the first job need not wait for it."""
        ...

    def run(
        self,
        job: str,
        request: Mapping[str, Any],
        *,
        limits: Limits,
        progress: Progress | None = None,
    ) -> Plain:
        """Run a job in a child that exits before this returns.

        Args:
            job: the job's name.
            request: plain data that JSON can hold.
            limits: what the child may use up.
            progress: called with done and total as the job tells.

        Returns:
            The job's answer.

        Raises:
            ChromasealError: what the job itself raised.
            Unavailable: ``child-died``, ``child-killed`` or ``child-timeout``.
        """
        ...

    def close(self) -> None:
        """End whatever runs."""
        ...


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""


def no_step_progress(step: str, done: int, total: int) -> None:
    """Tell nobody."""
