"""What a machine's kernel knows of the file system that a directory is on: the interface."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class FileSystem(Protocol):
    """Where that is asked."""

    def kind(self, directory: Path) -> str:
        """Name the kind of a directory's file system, as ``mount`` does; empty if nothing tells."""
        ...

    def open_anywhere(self, directory: Path) -> bool | None:
        """Tell whether any process of this machine has a file of a directory open or mapped.

        It opens the files to find out: only for directories that are this process's own to change.

        Returns:
            None where nobody can tell, as where other machines may have it open.
        """
        ...
