"""The interface that tells who holds files of a directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a file open, mapped or locked."""

    pid: int
    command: str
    path: str
    how: str

    def __str__(self) -> str:
        """Name process and file as errors do."""
        return f"process {self.pid} ({self.command}) has {self.path} {self.how}"


class OpenFiles(Protocol):
    """Where holders are found."""

    def holders(self, directory: Path) -> list[Holder]:
        """Give every process that holds a file below a directory, this one included.

        Raises:
            Unsupported: ``no-proc``, this machine cannot tell.
        """
        ...
