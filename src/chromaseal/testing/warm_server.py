"""A process that has made all imports -> forks of it that are what is asked for.

``python -m chromaseal.testing.warm_server SOCKET``; ``chromaseal.testing.warm_start`` asks. A
request is one packet: JSON and three descriptors. Answers are ``{"pid": ...}`` and, when the
process has ended, ``{"exit": ...}``. The server ends when its standard input does.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from chromaseal.adapters.process import sandbox
from chromaseal.testing.warm_start import CHILD, MEMBER, REQUEST_BYTES, begin_child

# Programs are named, not imported, as on a command line.
_PROGRAM: Final = "chromaseal.entrypoints.cli"
_CHILD_PROGRAM: Final = "chromaseal.entrypoints.child"
_PR_SET_PDEATHSIG: Final = 1


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
        body, streams, _, _ = socket.recv_fds(client, REQUEST_BYTES, 3)
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
        if request["kind"] == MEMBER:
            # Before anybody knows its number, so that the group is there to be stopped.
            os.setpgid(pid, pid)
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
    if request["kind"] == CHILD:
        os.setsid()
        importlib.import_module(_CHILD_PROGRAM).main()
        return
    sandbox.begin = functools.partial(begin_child, place)
    if request["kind"] == MEMBER:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        importlib.import_module(sys.argv.pop(1)).main()
        return
    # Help names the program as its script is named, not as a module of tests.
    sys.modules["__main__"].__package__ = ""
    importlib.import_module(_PROGRAM).main()


if __name__ == "__main__":
    main()
