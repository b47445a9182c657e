"""The processes of a soak: begun, killed, stopped, resumed, and what they said when."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.soak.blows import Role
from chromaseal.clock import Clock
from chromaseal.errors import Unavailable
from chromaseal.testing.warm_start import WarmProcess, begin_member

_END_TIMEOUT_S = 60.0
_WORDS = 1000


@dataclass(frozen=True, slots=True)
class Said:
    """A line that a process wrote on standard output.

    Attributes:
        at_s: when it was heard, by a clock that is every process's.
        facts: the JSON object.
    """

    at_s: float
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """A process that ended by itself.

    Attributes:
        name: of the member.
        exit_code: its own.
        words: the last that it wrote on standard error.
    """

    name: str
    exit_code: int
    words: str

    @property
    def is_allowed(self) -> bool:
        """Whether it ended because store or ledger did not answer as it began."""
        return self.exit_code == Unavailable.exit_code


class Member:
    """One process of the crew, and those that take its place when it was killed.

    Args:
        name: unique.
        role: what it is.
        command: a module with a ``main``, and arguments.
        folder: where its standard error goes.
        environment: all of its variables.
        clock: when something was said.
    """

    def __init__(
        self,
        name: str,
        role: Role,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self.name = name
        self.role = role
        self.said: list[Said] = []
        self.sleeps = False
        self.groups: list[int] = []
        self.log = folder / f"{name}.log"
        self._command = command
        self._environment = environment
        self._clock = clock
        self._process: WarmProcess | None = None
        self._reader: threading.Thread | None = None

    @property
    def is_there(self) -> bool:
        """Whether a process is there, awake or not."""
        return self._process is not None

    @property
    def stands(self) -> bool:
        """Whether a process is there and awake."""
        return self.is_there and not self.sleeps

    @property
    def pid(self) -> int:
        """Give the process's number."""
        return self.groups[-1]

    def start(self) -> None:
        """Begin a process, in a group of its own; only its imports were made before."""
        module, *arguments = self._command
        with self.log.open("ab") as log:
            process = begin_member(
                module,
                arguments,
                environment=self._environment,
                folder=Path.cwd(),
                stderr=log,
            )
        self._process = process
        self.groups.append(process.pid)
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()

    def _read(self, process: WarmProcess) -> None:
        if process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                # A death may cut the last one off.
                with contextlib.suppress(json.JSONDecodeError):
                    self.said.append(Said(self._clock.monotonic_s(), json.loads(line)))

    def kill(self) -> None:
        """Kill the process alone: what it has started has to find out."""
        if self._process is not None:
            self._process.kill()
            self._forget(self._process.wait())

    def stop(self) -> None:
        """Stop it with all that it has started, as if its machine stood still."""
        os.killpg(self.pid, signal.SIGSTOP)
        self.sleeps = True

    def resume(self) -> None:
        """Let it go on."""
        self.sleeps = False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)

    def ended(self) -> Ending | None:
        """Give how the process ended by itself, once; None while it is there."""
        code = None if self._process is None else self._process.poll()
        return None if code is None else self._forget(code)

    def ask_to_end(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            self._process.terminate()

    def end(self) -> Ending:
        """Wait until it has ended, which it was asked to."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not there")
        try:
            return self._forget(self._process.wait(_END_TIMEOUT_S))
        except TimeoutError:
            self._process.kill()
            self._forget(self._process.wait())
            return Ending(self.name, -signal.SIGKILL, f"it did not end in {_END_TIMEOUT_S:.0f} s")

    def close(self) -> None:
        """End all that is left of it, whatever it does."""
        self.kill()
        for group in self.groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def left(self) -> list[int]:
        """Give the groups of its dead processes in which something still lives."""
        dead = self.groups[:-1] if self.is_there else self.groups
        return [group for group in dead if _lives(group)]

    def _forget(self, exit_code: int) -> Ending:
        if self._reader is not None:
            self._reader.join(_END_TIMEOUT_S)
        self._process = None
        self.sleeps = False
        words = self.log.read_text(errors="replace").strip()[-_WORDS:]
        return Ending(self.name, exit_code, words)


def _lives(group: int) -> bool:
    """Tell whether there is anybody in a group whose first process has been waited for."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    # The kernel gives the number to a new process only when the group has nobody left.
    return not Path(f"/proc/{group}").exists()
