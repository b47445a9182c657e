"""Programs that tests run beside themselves: they end with whoever started them.

A program ends with its ``with`` block; should the process that started it be killed, the kernel
ends the program too. Start it from a thread that lives as long as it should: the kernel takes the
end of the starting thread for its process's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from chromaseal.clock import Clock

LOOPBACK = "127.0.0.1"
Server = TypeVar("Server")
# A server that starts at all starts within seconds, but the machine may be busy.
START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.05
# Between finding a free port and binding it, another program may take it.
_TRIES = 3
# Whoever looks for the server while it is away may be given its port for a moment.
_TRIES_AGAIN = 20
# Becomes another user if asked to, has the kernel end this process when its parent dies, then
# becomes the program; unlike code between fork and exec, that is safe in a process with threads.
# Another user first: the kernel forgets the wish when the user changes.
_BECOME = (
    "import ctypes, os, sys; "
    "uid, gid, ending = map(int, sys.argv[1:4]); "
    "uid and (os.setgroups([]), os.setgid(gid), os.setuid(uid)); "
    "ctypes.CDLL(None).prctl(1, ending); "
    "os.execv(sys.argv[4], sys.argv[4:])"
)


class StartError(Exception):
    """The program ended before it answered."""


@dataclass(frozen=True, slots=True)
class User:
    """Who a program runs as.

    Attributes:
        uid: 0 for whoever runs the tests.
        gid: of its group.
    """

    uid: int = 0
    gid: int = 0


@contextlib.contextmanager
def running(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    *,
    user: User | None = None,
    ending: signal.Signals = signal.SIGTERM,
    orphaned: signal.Signals = signal.SIGKILL,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends.

    Args:
        command: program and arguments.
        directory: where it runs, and where its output goes, as ``server.log``.
        environment: all of its variables.
        user: who it is to be, when the tests are root's.
        ending: asks it to end.
        orphaned: ends it when this process has died.
    """
    with (directory / "server.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own dependency, our own arguments
            ending_with_this_process(command, user=user, orphaned=orphaned),
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the tests; they still need the server while they end.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process, ending)


def ending_with_this_process(
    command: Sequence[str],
    *,
    user: User | None = None,
    orphaned: signal.Signals = signal.SIGKILL,
) -> list[str]:
    """Give a command whose program the kernel ends when this process has died.

    Args:
        command: program, by its path, and arguments.
        user: who it is to be.
        orphaned: the signal that it gets.
    """
    who = user or User()
    return [sys.executable, "-c", _BECOME, *map(str, (who.uid, who.gid, int(orphaned))), *command]


class Restartable:
    """A server's program, which may be ended and begun again where it was; a context manager.

    Args:
        run: runs it until its block ends, on the same ports and data each time.
        ready: whether it answers.
        clock: for waiting until it does.
    """

    def __init__(
        self,
        run: Callable[[], AbstractContextManager[subprocess.Popen[bytes]]],
        ready: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._run = run
        self._ready = ready
        self._clock = clock
        self._held = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin it, and wait until it answers.

        Raises:
            StartError: it ended, or took too long.
        """
        self._process = self._held.enter_context(self._run())
        wait(self._ready, self._process, self._clock)

    def end(self, number: signal.Signals) -> None:
        """End it by a signal, with all that it has started."""
        if self._process is not None:
            self._process.send_signal(number)
            # Who takes longer is killed with the block.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_TIMEOUT_S)
        self._held.close()

    def start_again(self) -> None:
        """Begin it where it was; again where another program has its port for a moment.

        Raises:
            StartError: it does not start.
        """
        for _ in range(_TRIES_AGAIN):
            try:
                self.start()
            except StartError:
                self._held.close()
                self._clock.sleep(_POLL_S)
            else:
                return
        raise StartError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()


def started(begin: Callable[[ExitStack], Server], directory: Path) -> Iterator[Server]:
    """Begin, again where a port was taken meanwhile; the server ends with the generator.

    Raises:
        RuntimeError: it did not start; the message has the end of its output.
    """
    for _ in range(_TRIES):
        with ExitStack() as held:
            try:
                server = begin(held)
            except StartError:
                continue
            yield server
            return
    said = (directory / "server.log").read_text(errors="replace")
    raise RuntimeError(f"the server did not start: {said[-2000:]}")


def wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], clock: Clock) -> None:
    """Wait until a program answers.

    Raises:
        StartError: it ended, or took too long.
    """
    end_s = clock.monotonic_s() + START_TIMEOUT_S
    while not ready():
        if process.poll() is not None or clock.monotonic_s() > end_s:
            raise StartError
        clock.sleep(_POLL_S)


def free_ports(count: int) -> list[int]:
    """Give ports of the loopback interface that nobody listens on."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def bare_environment(directory: Path) -> dict[str, str]:
    """Give variables with which nothing that is configured here reaches a program."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(directory),
        "TMPDIR": str(directory),
    }


def existing(program: Path) -> Path:
    """Give the path of a program that ``make setup`` has brought."""
    if program.is_file():
        return program
    raise FileNotFoundError(f"there is no {program}; make setup installs it")


def _stop(process: subprocess.Popen[bytes], ending: signal.Signals) -> None:
    process.send_signal(ending)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        # Whatever it started is in its group.
        os.killpg(process.pid, signal.SIGKILL)
