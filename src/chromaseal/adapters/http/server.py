"""A few pages over HTTP, from a thread of their own; GET and HEAD, no state, no input."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chromaseal.errors import Conflict

# Whoever connects and says nothing is sent away.
_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Page:
    """An answer.

    Attributes:
        status: of HTTP.
        text: the body.
        content_type: of it.
    """

    status: int
    text: str
    content_type: str = "text/plain; charset=utf-8"


Answer = Callable[[str], Page | None]


class _Server6(ThreadingHTTPServer):
    """The same on IPv6."""

    address_family = socket.AF_INET6


@contextlib.contextmanager
def serving(host: str, port: int, answer: Answer) -> Iterator[int]:
    """Answer until the block ends; give the port.

    Args:
        host: the address to listen on.
        port: 0 for any that is free.
        answer: gives the page of a path; None where there is none.

    Raises:
        Conflict: ``cannot-listen``.
    """
    try:
        server = (_Server6 if ":" in host else ThreadingHTTPServer)((host, port), _handler(answer))
    except (OSError, OverflowError) as error:
        raise Conflict(
            f"nobody can listen on {host}, port {port}: {error}",
            kind="cannot-listen",
            hint="name another --port or --host; 0 is any port that is free",
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(answer: Answer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers one connection."""

        timeout = _TIMEOUT_S
        server_version = "chromaseal"
        sys_version = ""

        def do_GET(self) -> None:
            """Give a page."""
            self._give(with_body=True)

        def do_HEAD(self) -> None:
            """Give a page's head."""
            self._give(with_body=False)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
            """Write nothing: standard error is for what the worker says."""

        def _give(self, *, with_body: bool) -> None:
            page = answer(self.path.partition("?")[0]) or Page(404, "there is no such page\n")
            body = page.text.encode()
            self.send_response(page.status)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    return Handler
