"""Commands and child processes that start in milliseconds, for tests that start hundreds.

``python -m chromaseal.testing.warm_start SOCKET`` imports everything once, then forks for every
request: a process of its own, with the arguments, environment, folder and streams that it was asked
for, which runs what the real one runs. Only the imports are shared, so a test of starting itself
starts the real one.

A request is one packet: JSON and three descriptors. Answers are ``{"pid": ...}`` and, when the
process has ended, ``{"exit": ...}``. The server ends when its standard input does.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from chromaseal.adapters.process import sandbox

_COMMAND: Final = "command"
_CHILD: Final = "child"
# Programs are named, not imported, as on a command line.
_PROGRAM: Final = "chromaseal.entrypoints.cli"
_CHILD_PROGRAM: Final = "chromaseal.entrypoints.child"
_REQUEST_BYTES: Final = 1 << 17
# A shell that runs the tests in the background lets them inherit that SIGINT is ignored.
_FOREGROUND: Final = ("env", "--default-signal=INT,TERM")


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
        body = self._server.recv(_REQUEST_BYTES)
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
            _COMMAND,
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
                _COMMAND,
                arguments,
                environment=environment,
                folder=folder,
                streams=[nothing.fileno(), writing, 2],
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
            _CHILD,
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
        [*prefix, *_FOREGROUND, sys.executable, "-m", "chromaseal.testing.warm_start", str(place)],
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


def main() -> None:
    """Serve, and, as one of the forked processes, be what was asked for."""
    place = Path(sys.argv[1])
    _import_everything()
    # Forks need not copy what they never change.
    gc.collect()
    gc.freeze()
    be = _Server(place).serve()
    if be is not None:
        _end_with(_exit_code(be))


def _exit_code(be: Callable[[], None]) -> int:
    try:
        be()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does at the end of any program
        traceback.print_exc()
        return 1
    return 0


def _end_with(code: int) -> None:
    """End as the interpreter does, but for taking everything apart that was imported."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()  # noqa: SLF001 - nothing public does it
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _import_everything() -> None:
    for module in pkgutil.iter_modules(importlib.import_module(_PROGRAM).__path__):
        importlib.import_module(f"{_PROGRAM}.{module.name}")
    for name in importlib.import_module(_CHILD_PROGRAM).JOBS.values():
        importlib.import_module(name)
    importlib.import_module("chromaseal.adapters.sqlalchemy.sqlite")


class _Server:
    def __init__(self, place: Path) -> None:
        self._place = place
        self._running: dict[int, socket.socket] = {}

    def serve(self) -> Callable[[], None] | None:
        """Fork for every request; give what to be, as a fork, or nothing at the end."""
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening,
            selectors.DefaultSelector() as selector,
        ):
            listening.bind(str(self._place))
            listening.listen(64)
            for each in (listening.fileno(), woken, 0):
                selector.register(each, selectors.EVENT_READ)
            os.write(1, b"ready\n")
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if woken in ready:
                    self._reap(woken)
                if listening.fileno() in ready:
                    be = self._fork(listening)
                    if be is not None:
                        return be
                elif 0 in ready and not os.read(0, 1):
                    return None

    def _reap(self, woken: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(woken, 1024):
                pass
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                client = self._running.pop(pid, None)
                # The first process of a container gets those whose parents have ended, too.
                if client is not None:
                    self._tell(client, exit=os.waitstatus_to_exitcode(status))

    def _tell(self, client: socket.socket, **answer: int) -> None:
        with contextlib.suppress(ConnectionError), client:
            client.send(json.dumps(answer).encode())

    def _fork(self, listening: socket.socket) -> Callable[[], None] | None:
        client, _ = listening.accept()
        body, streams, _, _ = socket.recv_fds(client, _REQUEST_BYTES, 3)
        if not body:
            # Whoever was about to ask has been killed.
            client.close()
            return None
        request = json.loads(body)
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            client.close()
            for other in self._running.values():
                other.close()
            return functools.partial(_be, request, streams, self._place)
        for descriptor in streams:
            os.close(descriptor)
        # Whoever asked may have been killed meanwhile.
        with contextlib.suppress(ConnectionError):
            client.send(json.dumps({"pid": pid}).encode())
        self._running[pid] = client
        return None


def _be(request: dict[str, Any], streams: Sequence[int], place: Path) -> None:
    for wanted, given in enumerate(streams):
        os.dup2(given, wanted)
        os.close(given)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - to the end
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - to the end
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - to the end
    sys.argv = ["chromaseal", *request["arguments"]]
    if request["kind"] == _CHILD:
        os.setsid()
        importlib.import_module(_CHILD_PROGRAM).main()
        return
    sandbox.begin = functools.partial(begin_child, place)
    # Help names the program as its script is named, not as a module of tests.
    sys.modules["__main__"].__package__ = ""
    importlib.import_module(_PROGRAM).main()


if __name__ == "__main__":
    main()
