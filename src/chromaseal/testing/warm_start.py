"""Commands and child processes that start in milliseconds, for tests that start hundreds.

A server (``chromaseal.testing.warm_server``) imports everything once, then forks for every
request: a process of its own, with the arguments, environment, folder and streams that it was asked
for, which runs what the real one runs. Only the imports are shared, so a test of starting itself
starts the real one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from chromaseal.adapters.process import sandbox

COMMAND: Final = "command"
CHILD: Final = "child"
MEMBER: Final = "member"
REQUEST_BYTES: Final = 1 << 17
# Named, not imported: it is another process.
_SERVER: Final = "chromaseal.testing.warm_server"
# A shell that runs the tests in the background lets them inherit that SIGINT is ignored.
FOREGROUND: Final = ("env", "--default-signal=INT,TERM")


class WarmProcess:
    """A process that the server has forked, as ``subprocess.Popen`` shows its own.

    Attributes:
        pid: its number.
        stdin: what it reads; None where it reads nothing of ours.
        stdout: what it writes; None where that goes elsewhere.
    """

    def __init__(
        self,
        place: Path,
        kind: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        streams: Sequence[int],
        stdin: IO[str] | None = None,
        stdout: IO[str] | None = None,
    ) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.returncode: int | None = None
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.connect(str(place))
        request = {
            "kind": kind,
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(folder),
        }
        socket.send_fds(self._server, [json.dumps(request).encode()], streams)
        self.pid = int(self._answer()["pid"])

    def poll(self) -> int | None:
        """Give the exit code, None while it runs."""
        with contextlib.suppress(TimeoutError, BlockingIOError):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, for so many seconds at most.

        Raises:
            TimeoutError: it goes on.
            BlockingIOError: it goes on, and there was no time to wait.
        """
        if self.returncode is None:
            self._server.settimeout(timeout)
            self.returncode = int(self._answer()["exit"])
            self._server.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal; none if it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[str, None]:
        """Close its input, read the rest of what it says, and wait for its end."""
        with contextlib.suppress(BrokenPipeError):
            if self.stdin is not None:
                self.stdin.close()
        rest = ""
        if self.stdout is not None:
            rest = self.stdout.read()
            self.stdout.close()
        self.wait()
        return rest, None

    def _answer(self) -> dict[str, Any]:
        body = self._server.recv(REQUEST_BYTES)
        # A server that is gone has ended with the tests, and its processes with it.
        return json.loads(body) if body else {"pid": 0, "exit": -signal.SIGKILL}


def run_command(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    timeout_s: float,
    prefix: tuple[str, ...] = (),
    meanwhile: Callable[[int], None] = lambda _: None,
) -> tuple[int, str, str]:
    """Run a command of ours to its end; give its exit code, its output and its errors.

    Args:
        arguments: of the command.
        environment: its environment.
        folder: where it is run.
        timeout_s: how long it may take.
        prefix: a program with its arguments that lets go of rights before ours begins.
        meanwhile: called with the command's process number while it runs.

    Raises:
        TimeoutError: it took longer, and was killed.
    """
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as errors,
        Path(os.devnull).open("rb") as nothing,
    ):
        streams = [nothing.fileno(), out.fileno(), errors.fileno()]
        process = WarmProcess(
            server(prefix),
            COMMAND,
            arguments,
            environment=environment,
            folder=folder,
            streams=streams,
        )
        try:
            meanwhile(process.pid)
            code = process.wait(timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return code, _text(out), _text(errors)


def begin_command(
    arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path
) -> WarmProcess:
    """Begin a command of ours; its output is to be read, its errors go where ours do."""
    reading, writing = os.pipe()
    try:
        with Path(os.devnull).open("rb") as nothing:
            return WarmProcess(
                server(),
                COMMAND,
                arguments,
                environment=environment,
                folder=folder,
                streams=[nothing.fileno(), writing, 2],
                stdout=os.fdopen(reading),
            )
    finally:
        os.close(writing)


def begin_member(
    module: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    stderr: IO[bytes],
) -> WarmProcess:
    """Begin a module's ``main`` in a group of its own, which ends with this process.

    Args:
        module: imported with what ``PYTHONPATH`` in its environment adds.
        arguments: its own.
        environment: all of its variables.
        folder: where it is run.
        stderr: where its errors go; its output is to be read.
    """
    reading, writing = os.pipe()
    try:
        with Path(os.devnull).open("rb") as nothing:
            return WarmProcess(
                server(),
                MEMBER,
                [module, *arguments],
                environment=environment,
                folder=folder,
                streams=[nothing.fileno(), writing, stderr.fileno()],
                stdout=os.fdopen(reading),
            )
    finally:
        os.close(writing)


def warm_sandboxes() -> None:
    """Have the children of this process's sandboxes forked by the server, from now on."""
    sandbox.begin = lambda preload, stderr: begin_child(server(), preload, stderr)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def begin_child(place: Path, preload: Sequence[str], stderr: IO[str]) -> WarmProcess:
    """Begin a child process as ``chromaseal.adapters.process.sandbox`` does, but warm."""
    reading, stdin = os.pipe()
    stdout, writing = os.pipe()
    try:
        return WarmProcess(
            place,
            CHILD,
            preload,
            environment=os.environ,
            folder=Path.cwd(),
            streams=[reading, writing, stderr.fileno()],
            stdin=os.fdopen(stdin, "w"),
            stdout=os.fdopen(stdout),
        )
    finally:
        os.close(reading)
        os.close(writing)


@functools.cache
def server(prefix: tuple[str, ...] = ()) -> Path:
    """Have a server run until this process ends, below a prefix or none; give its socket."""
    folder = tempfile.mkdtemp(prefix="chromaseal-warm-")
    place = Path(folder) / "socket"
    process = subprocess.Popen(  # noqa: S603 - our own module
        [*prefix, *FOREGROUND, sys.executable, "-m", _SERVER, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(_end, process, place)
    if process.stdout is None or not process.stdout.readline():
        raise RuntimeError("the warm process has not started")
    return place


def _end(process: subprocess.Popen[bytes], place: Path) -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.wait()
    place.unlink(missing_ok=True)
    place.parent.rmdir()
