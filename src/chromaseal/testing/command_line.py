"""Running the command line as a user does, in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chromaseal.testing.warm_start import WarmProcess, begin_command, run_command

TIMEOUT_S = 110


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said."""

    exit_code: int
    out: str
    errors: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """Give the JSON objects on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]

    def only(self, event: str) -> list[dict[str, Any]]:
        """Give the JSON objects of one kind."""
        return [each for each in self.events if each["event"] == event]


def command_line(*arguments: str) -> list[str]:
    """Give what starts a command."""
    return [sys.executable, "-m", "chromaseal", *arguments]


def environment(cache: Path) -> dict[str, str]:
    """Give the environment of a user with nothing configured but a cache and endless lines."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CHROMASEAL_")}
    return {**kept, "CHROMASEAL_CACHE": str(cache), "COLUMNS": "10000"}


def chromaseal(
    *arguments: str,
    cache: Path,
    folder: Path | None = None,
    prefix: tuple[str, ...] = (),
    meanwhile: Callable[[int], None] = lambda _: None,
) -> Answer:
    """Run one command to its end, in a process of its own whose imports were made before.

    Args:
        arguments: of the command.
        cache: where it keeps verified copies.
        folder: where it is run; this process's by default.
        prefix: a program with its arguments that lets go of rights before the command begins.
        meanwhile: called with the command's process number while it runs.
    """
    done = run_command(
        arguments,
        environment=environment(cache),
        folder=folder or Path.cwd(),
        timeout_s=TIMEOUT_S,
        prefix=prefix,
        meanwhile=meanwhile,
    )
    return Answer(*done)


def begin(*arguments: str, cache: Path, folder: Path | None = None) -> WarmProcess:
    """Begin one command, in a process of its own whose imports were made before."""
    return begin_command(arguments, environment=environment(cache), folder=folder or Path.cwd())


@dataclass(frozen=True, slots=True)
class SampleVault:
    """Where everything is, and what ingesting said."""

    images: Path
    vault: Path
    cache: Path
    answer: Answer

    def run(self, *arguments: str) -> Answer:
        """Run a command on the vault; programs' output, so that it can be compared."""
        return chromaseal(*arguments, "--vault", str(self.vault), "--json", cache=self.cache)
