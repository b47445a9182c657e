"""The interface by which Lambda hands events to a runtime, served to one function of ours."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from chromaseal.clock import SystemClock
from chromaseal.ids import SystemIds
from chromaseal.testing.programs import LOOPBACK

_VERSION: Final = "/2018-06-01/runtime"
_TIMEOUT_S: Final = 300.0
_ARN: Final = "arn:aws:lambda:us-east-1:123456789012:function:function"


class RuntimeApi:
    """What a function's process asks for events, and answers to.

    Attributes:
        address: host and port, as ``AWS_LAMBDA_RUNTIME_API`` has them.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def invoke(self, event: Any) -> Any:  # noqa: ANN401 - as JSON
        """Hand an event to the function; give its answer.

        Raises:
            RuntimeError: it failed, or gave none in time.
        """
        self.waiting.put(event)
        try:
            path, answer = self.answers.get(timeout=_TIMEOUT_S)
        except queue.Empty:
            raise RuntimeError(f"no answer within {_TIMEOUT_S:.0f} s") from None
        if not path.endswith("/response"):
            raise RuntimeError(f"{path}: {answer}")
        return answer

    def end(self) -> None:
        """Tell a function that waits for its next event that there is none: its process ends."""
        self.waiting.put(None)


@contextlib.contextmanager
def runtime_api() -> Iterator[RuntimeApi]:
    """Serve the interface on a free port of the loopback interface until the block ends."""
    server = ThreadingHTTPServer((LOOPBACK, 0), _Answering)
    api = RuntimeApi(f"{LOOPBACK}:{server.server_address[1]}")
    server.RequestHandlerClass = type("Bound", (_Answering,), {"api": api})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.end()
        server.shutdown()
        server.server_close()
        thread.join()


class _Answering(BaseHTTPRequestHandler):
    """One request of the function's process."""

    api: RuntimeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Give the next event, as soon as there is one."""
        if self.path != f"{_VERSION}/invocation/next":
            self._send(HTTPStatus.NOT_FOUND, {}, b"")
            return
        event = self.api.waiting.get()
        deadline_ms = int((SystemClock().now().timestamp() + _TIMEOUT_S) * 1000)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": SystemIds().unique(),
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": _ARN,
            "Content-Type": "application/json",
        }
        gone = event is None
        status = HTTPStatus.GONE if gone else HTTPStatus.OK
        self._send(status, {} if gone else headers, json.dumps(event).encode())

    def do_POST(self) -> None:
        """Take an answer, or what went wrong."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.api.answers.put((self.path, json.loads(body or b"null")))
        self._send(HTTPStatus.ACCEPTED, {}, b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _send(self, status: HTTPStatus, headers: dict[str, str], body: bytes) -> None:
        # Whoever was asked for may be gone by now.
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
