"""A process that answers each line on standard input with one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


class Answering:
    """A module of ours, run by this very Python.

    Args:
        arguments: the module's name and what it is given.
        environment: all of its variables; this process's by default.
        log: where standard error goes; to that of this process by default.
    """

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        lines = None if log is None else log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=lines,
            text=True,
            env=environment,
        )
        if lines is not None:
            lines.close()

    def ask(self, line: str) -> str:
        """Hand it a line; give its answer."""
        if self._process.stdin is None:
            raise RuntimeError("the process was started without pipes")
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self.line()

    def line(self) -> str:
        """Give the next line that it says."""
        if self._process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} has ended")
        return line.strip()

    def close(self) -> None:
        """End its input, and wait until it has ended."""
        self._process.communicate()
