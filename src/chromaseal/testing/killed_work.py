"""Work on a vault in a process that may be killed at any of its store operations.

``python -m chromaseal.testing.killed_work`` reads a job per line and forks for each, so that a
death costs milliseconds. ``Killing`` is the other side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from chromaseal.adapters.local.object_store import LocalObjectStore
from chromaseal.replication import follow
from chromaseal.sandbox import Plain
from chromaseal.snapshot import chain, history
from chromaseal.snapshot.retention import Policy
from chromaseal.testing.killing import KillingStore, kill_at_change
from chromaseal.testing.machine import Machine, RememberingSandbox

COLLECTION = "notes"
KILLED = -9


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done, and where it ends.

    Attributes:
        verb: one of ``VERBS``.
        vault: the vault's directory.
        cache: of the machine.
        directory: of the application, or to bring a version to.
        answers: a file with what a sandbox remembers.
        at: the store operation to die at.
        landed: whether it still has its effect.
        chain_limit: after how many layers diffs are folded.
        page_versions: after how many versions history continues on a page.
        change: the change to the directory to die before, counted from 0; -1 for none.
    """

    verb: str
    vault: str
    cache: str
    directory: str
    answers: str
    at: int
    landed: bool
    chain_limit: int = 16
    page_versions: int = 64
    change: int = -1


VERBS: dict[str, Callable[[Machine], object]] = {
    "push": lambda m: m.vault.push(m.directory, COLLECTION),
    "pull": lambda m: m.vault.pull(COLLECTION, m.directory),
    "follow": lambda m: follow.advance(m.vault.parts, COLLECTION, m.directory),
    "rollback": lambda m: m.vault.rollback(COLLECTION, "1"),
    "sync": lambda m: m.vault.sync(COLLECTION, m.directory, existing_readers=True),
    "tag": lambda m: m.vault.tag(COLLECTION, "gold", at="2"),
    "untag": lambda m: m.vault.untag(COLLECTION, "gold"),
    "gc": lambda m: m.vault.gc(COLLECTION, Policy(keep_last=1)),
}


class Killing:
    """A process that forks for every job; use as a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(self, job: Job) -> int:
        """Do a job; give its exit code, which is ``KILLED`` if it died where it was to die."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def do(job: Job) -> None:
    """Do a job in this process, until it dies."""
    chain.CHAIN_LIMIT = job.chain_limit
    chain.OUTWEIGHED = 100.0
    history.PAGE_VERSIONS = job.page_versions
    answers: dict[str, Plain] = json.loads(Path(job.answers).read_text())
    store = KillingStore(LocalObjectStore(Path(job.vault)), at=job.at, landed=job.landed)
    sandbox = RememberingSandbox(None, answers)
    if job.change >= 0:
        kill_at_change(Path(job.directory), job.change)
    VERBS[job.verb](Machine(store, Path(job.cache), Path(job.directory), sandbox))


def main() -> None:
    """Do jobs until standard input ends."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                do(Job(**json.loads(line)))
            except BaseException:  # noqa: BLE001 - the edge of a process
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
