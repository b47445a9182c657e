"""A command that waits for a store says so, where nobody keeps a log."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromaseal.testing.command_line import chromaseal
from chromaseal.testing.servers import S3Server


class Failing(http.server.ThreadingHTTPServer):
    """A server that has an error of its own four times, and then refuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = 0


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers what is read."""

    server: Failing

    def do_GET(self) -> None:
        """Fail, or refuse."""
        self.server.asked += 1
        body = b"<Error><Code>InternalError</Code><Message>Try again.</Message></Error>"
        self.send_response(500 if self.server.asked <= 4 else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the URL of a vault there."""
    with Failing() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        where = S3Server(f"http://127.0.0.1:{server.server_port}", "key", "secret", "bucket")
        for name, value in where.environment().items():
            monkeypatch.setenv(name, value)
        yield where.url("vault")
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("log", ["off", "on"])
def test_who_waits_is_told(url: str, log: str, tmp_path: Path) -> None:
    """Once for all that happens in five seconds, on standard error; a log says it by itself."""
    options = ["-v"] if log == "on" else []
    answer = chromaseal(*options, "log", "lines", "--vault", url, "--json", cache=tmp_path)
    assert answer.exit_code == 7
    assert answer.only("error")[0]["error"] == "store-refuses"
    lines = [line for line in answer.errors.splitlines() if "InternalError: Try again." in line]
    if log == "off":
        (line,) = lines
        assert "; asked again in " in line
    else:
        assert all("request retried" in line for line in lines if "403" not in line)
        assert len([line for line in lines if "request retried" in line]) == 4
