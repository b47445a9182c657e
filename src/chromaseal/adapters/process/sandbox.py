"""Jobs in child processes that are forked from a warm one."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import IO, Any, Protocol

from chromaseal.errors import Unavailable, from_json
from chromaseal.sandbox import Limits, Plain, Progress, no_progress
from chromaseal.telemetry.emit import Foreign, is_observed, outcome_of, step
from chromaseal.telemetry.relay import TOLD, take

_CHILD = "chromaseal.entrypoints.child"
_STDERR_TAIL_CHARACTERS = 2000
_KILLED = "SIGKILL"


class Process(Protocol):
    """What a sandbox needs of a process, as ``subprocess.Popen`` has it."""

    pid: int
    stdin: IO[str] | None
    stdout: IO[str] | None

    def poll(self) -> int | None:
        """Give the exit code, None while it runs."""
        ...

    def kill(self) -> None:
        """End it."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, for so many seconds at most."""
        ...

    def communicate(self) -> object:
        """Read the rest of what it says, and wait for its end."""
        ...


class ProcessSandbox:
    """One warm process, one job at a time.

    Args:
        preload: modules that the warm process imports once, so that jobs need not.
        fork: True runs every job in a child of its own, whose exit closes all it opened;
            False runs jobs in the warm process itself, which keeps what they loaded.
    """

    def __init__(self, *, preload: Sequence[str] = (), fork: bool = True) -> None:
        self._preload = preload
        self._fork = fork
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._closed = False
        self._stderr: IO[str] | None = None

    def start(self) -> None:
        """Begin the warm process now, so that the first job does not wait for its imports."""
        with self._lock:
            self._started()

    def run(
        self,
        job: str,
        request: Mapping[str, Any],
        *,
        limits: Limits,
        progress: Progress | None = None,
    ) -> Plain:
        """Run a job in a child that exits before this returns."""
        line = json.dumps(
            {
                "job": job,
                "request": request,
                "limits": asdict(limits),
                "fork": self._fork,
                "observe": is_observed(),
            }
        )
        with self._lock, step("run job", job=job) as told:
            process = self._started()
            told.note(pid=process.pid)
            if self._fork:
                return self._answer(process, job, line, progress or no_progress)
            # The warm process watches over its forks; over itself this one has to.
            watch = threading.Timer(limits.timeout_s, process.kill)
            watch.start()
            try:
                return self._answer(process, job, line, progress or no_progress)
            except Unavailable as error:
                if watch.finished.is_set():
                    raise _timed_out(job, limits.timeout_s) from error
                raise
            finally:
                watch.cancel()

    def close(self) -> None:
        """End the warm process and whatever it runs."""
        self._closed = True
        process = self._process
        if process is not None:
            # Without waiting for the lock: whoever runs a job has it.
            process.kill()
        with self._lock:
            self._stop()

    def _started(self) -> Process:
        if self._closed:
            raise closed()
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - lives as long as the process
            self._process = begin(self._preload, self._stderr)
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def _answer(self, process: Process, job: str, line: str, progress: Progress) -> Plain:
        foreign = Foreign()
        try:
            answer = self._last_answer(process, job, line, progress, foreign)
        except BaseException as error:
            foreign.close(outcome_of(error))
            # Whatever the job still has to say would be taken for the next one's answer.
            self._stop()
            raise
        # Whoever died has left steps open.
        foreign.close("child-died")
        if "result" in answer:
            return dict(answer["result"])
        if "failed" in answer:
            raise from_json(answer["failed"], error_class=answer["class"])
        raise self._died(job, answer.get("died") or answer["crashed"])

    def _last_answer(
        self,
        process: Process,
        job: str,
        line: str,
        progress: Progress,
        foreign: Foreign,
    ) -> Plain:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the child was started without pipes")
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise self._died(job, "before it began") from None
        for said in process.stdout:
            try:
                answer = json.loads(said)
            except ValueError:
                raise self._died(job, "in the middle of a word") from None
            if TOLD in answer:
                take(answer[TOLD], foreign)
            elif "progress" in answer:
                progress(*answer["progress"])
            else:
                return dict(answer)
        raise self._died(job, "without a word")

    def _died(self, job: str, how: str) -> Unavailable:
        said = ""
        if self._stderr is not None:
            self._stderr.seek(0)
            said = self._stderr.read()[-_STDERR_TAIL_CHARACTERS:].strip()
        died = f"the process that was to {job} died: {how.strip()}"
        again = "its copy was thrown away; run the same command again"
        if how == _KILLED:
            more = "mostly for want of memory: give it more, or let less run beside it; "
            return Unavailable(died, kind="child-killed", hint=more + again)
        return Unavailable(
            died + (f"\n{said}" if said else ""),
            kind="child-timeout" if how.startswith("timeout") else "child-died",
            hint=again,
        )


def closed() -> Unavailable:
    """Make the error of whoever asks for a job after the end."""
    return Unavailable("the vault was closed", kind="closed", hint="open it again")


def _timed_out(job: str, timeout_s: float) -> Unavailable:
    return Unavailable(
        f"the process that was to {job} took longer than {timeout_s:.0f} s",
        kind="child-timeout",
        hint="its work was thrown away; run the same command again",
    )


def begin_cold(preload: Sequence[str], stderr: IO[str]) -> Process:
    """Begin a child process, which then imports what it is to have ready."""
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", _CHILD, *preload],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        # Ctrl-C is for the one who asked; the child ends when its input does.
        start_new_session=True,
    )


# Tests that begin hundreds have them forked from a process that has imported everything.
begin: Callable[[Sequence[str], IO[str]], Process] = begin_cold


class SandboxPool:
    """Several sandboxes: as many jobs at once, each in a process of its own.

    Args:
        sandboxes: at least one.
    """

    def __init__(self, sandboxes: Sequence[ProcessSandbox]) -> None:
        self._all = list(sandboxes)
        # Last in, first out: a process that is warm already is preferred to a cold one.
        self._idle: queue.LifoQueue[ProcessSandbox] = queue.LifoQueue()
        for sandbox in reversed(self._all):
            self._idle.put(sandbox)
        self._lock = threading.Lock()
        self._closed = False
        # Whoever has one closes it; those that are still there at the end go with the others.
        self._dedicated: weakref.WeakSet[ProcessSandbox] = weakref.WeakSet()

    def start(self) -> None:
        """Begin all warm processes now."""
        for sandbox in self._all:
            sandbox.start()

    def run(
        self,
        job: str,
        request: Mapping[str, Any],
        *,
        limits: Limits,
        progress: Progress | None = None,
    ) -> Plain:
        """Run a job in the next idle sandbox."""
        sandbox = self._idle.get()
        try:
            return sandbox.run(job, request, limits=limits, progress=progress)
        finally:
            self._idle.put(sandbox)

    def dedicated(self, *, preload: Sequence[str] = ()) -> ProcessSandbox:
        """Begin a process of its own that keeps what its jobs open, until it is closed.

        Args:
            preload: modules that it imports while it waits for its first job.

        Raises:
            Unavailable: ``closed``.
        """
        with self._lock:
            if self._closed:
                raise closed()
            made = ProcessSandbox(preload=preload, fork=False)
            self._dedicated.add(made)
        made.start()
        return made

    def close(self) -> None:
        """End all processes and whatever they run."""
        with self._lock:
            self._closed = True
            dedicated = list(self._dedicated)
        for sandbox in (*self._all, *dedicated):
            sandbox.close()
