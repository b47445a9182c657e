"""A counter between a client and an object store: bytes each way, and requests.

Every peer is measured by the same counter, whatever it says of itself. It stands as a TCP proxy
in a process of its own and moves bytes inside the kernel (splice), so that it costs the measured
process little: ``python -m bench.meter HOST PORT`` prints its own port, and answers every line on
standard input with the counts so far.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from chromaseal.testing.programs import LOOPBACK
from chromaseal.testing.servers import S3Server

_PIPE_BYTES = 1 << 20
_INTERIM = b"HTTP/1.1 100"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went through a meter.

    Attributes:
        bytes_up: from the client, request heads included.
        bytes_down: from the server, response heads included.
        requests: answers, interim ones (100 Continue) left out.
        connections: as many as were opened.
    """

    bytes_up: int
    bytes_down: int
    requests: int
    connections: int

    def __sub__(self, before: Traffic) -> Traffic:
        """Give what came since an earlier reading."""
        return Traffic(
            self.bytes_up - before.bytes_up,
            self.bytes_down - before.bytes_down,
            self.requests - before.requests,
            self.connections - before.connections,
        )


class Meter:
    """Stands before a server and counts.

    Args:
        server: where to pass everything on to.

    Attributes:
        server: the same server by way of the meter.
    """

    def __init__(self, server: S3Server) -> None:
        target = urlsplit(server.endpoint)
        command = (sys.executable, "-m", "bench.meter", str(target.hostname), str(target.port))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.server = replace(server, endpoint=f"http://{LOOPBACK}:{self._line()}")

    def __enter__(self) -> Self:
        """Count from here on."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process; open connections are cut."""
        self._process.kill()
        self._process.communicate()

    def read(self) -> Traffic:
        """Give the counts so far. What a client has an answer to is in them."""
        if self._process.stdin is None:
            raise RuntimeError("the meter was started without pipes")
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Traffic(*json.loads(self._line()))

    def _line(self) -> str:
        if self._process.stdout is None:
            raise RuntimeError("the meter was started without pipes")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the meter died")
        return line.strip()


class _Counts:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._up = self._down = self._requests = self._connections = 0

    def add(self, *, up: int = 0, down: int = 0, requests: int = 0, connections: int = 0) -> None:
        with self._lock:
            self._up += up
            self._down += down
            self._requests += requests
            self._connections += connections

    def as_json(self) -> str:
        with self._lock:
            return json.dumps([self._up, self._down, self._requests, self._connections])


class _Connection:
    """One client and the server, a thread each way."""

    def __init__(self, client: socket.socket, server: socket.socket, counts: _Counts) -> None:
        self._client, self._server, self._counts = client, server, counts
        # Set while the client has said something that the server has not answered yet.
        self._asked = threading.Event()
        counts.add(connections=1)
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._run, args=(client, server), daemon=True).start()
        threading.Thread(target=self._run, args=(server, client), daemon=True).start()

    def _run(self, source: socket.socket, target: socket.socket) -> None:
        reading, writing = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            while True:
                # Counted before it is passed on: who sees an answer finds it counted.
                if source is self._server:
                    self._count_answer()
                size = os.splice(source.fileno(), writing, _PIPE_BYTES)
                if source is self._client:
                    self._asked.set()
                    self._counts.add(up=size)
                else:
                    self._counts.add(down=size)
                if not size:
                    break
                while size:
                    size -= os.splice(reading, target.fileno(), size)
        os.close(reading)
        os.close(writing)
        with contextlib.suppress(OSError):
            # The sockets themselves go when both threads are done with them.
            target.shutdown(socket.SHUT_WR)

    def _count_answer(self) -> None:
        head = self._server.recv(len(_INTERIM), socket.MSG_PEEK)
        if head and head != _INTERIM and self._asked.is_set():
            self._asked.clear()
            self._counts.add(requests=1)


def main() -> None:
    """Be the proxy until standard input ends."""
    target = sys.argv[1], int(sys.argv[2])
    counts = _Counts()
    listener = socket.create_server((LOOPBACK, 0), backlog=256)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            _Connection(client, socket.create_connection(target), counts)

    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    for _ in sys.stdin:
        print(counts.as_json(), flush=True)


if __name__ == "__main__":
    main()
