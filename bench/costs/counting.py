"""A proxy between functions and the emulator that counts what AWS would bill, by kind.

``python -m bench.costs.counting HOST PORT`` prints its own port, and answers every line on standard
input with the counts so far. Of DynamoDB it asks for the units that a write consumed, which the
emulator reckons as DynamoDB does; reads it reckons itself, by the size of the answer.
"""

from __future__ import annotations

import http.client
import json
import math
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chromaseal.testing.programs import LOOPBACK

_READ_UNIT_BYTES = 4096
_TARGET = "X-Amz-Target"
_DYNAMODB = "DynamoDB_20120810."
_WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"}
_OK = 200
# What belongs to one connection, and not to what goes through it.
_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


def kind_of(method: str, path: str, target: str) -> str:
    """Say what AWS bills a request as.

    Args:
        method: of HTTP.
        path: with its query.
        target: the header that names the operation of a service with JSON; empty for S3.
    """
    if target.startswith(_DYNAMODB):
        return "dynamodb_requests"
    if target:
        return "sqs_requests"
    if method == "GET":
        return "s3_list" if "list-type=" in path else "s3_get"
    return {"HEAD": "s3_get", "DELETE": "s3_delete"}.get(method, "s3_put")


def read_units(asked: Mapping[str, Any], answer: bytes) -> float:
    """Reckon the read units of an answer: its bytes as JSON, so rather too many than too few."""
    found = json.loads(answer)
    if "Responses" in found:
        tables = found["Responses"].values()
        sizes = [len(json.dumps(item)) for items in tables for item in items]
        consistent = any(each.get("ConsistentRead") for each in asked["RequestItems"].values())
    else:
        sizes, consistent = [len(answer)], bool(asked.get("ConsistentRead"))
    units = sum(max(1, math.ceil(size / _READ_UNIT_BYTES)) for size in sizes)
    return units if consistent else units / 2


def write_units(answer: bytes) -> float:
    """Add up what the emulator says that a write consumed, indexes included."""
    consumed = json.loads(answer).get("ConsumedCapacity", [])
    tables = [consumed] if isinstance(consumed, dict) else consumed
    return float(sum(each["CapacityUnits"] for each in tables))


class _Counts:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, float] = {}

    def add(self, counted: Mapping[str, float]) -> None:
        with self._lock:
            for name, amount in counted.items():
                self._counts[name] = self._counts.get(name, 0) + amount

    def as_json(self) -> str:
        with self._lock:
            return json.dumps(self._counts)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: tuple[str, int]
    counts: _Counts

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        body = self._body()
        operation = self.headers.get(_TARGET, "").removeprefix(_DYNAMODB)
        if operation in _WRITES:
            body = json.dumps({**json.loads(body), "ReturnConsumedCapacity": "TOTAL"}).encode()
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
        connection = http.client.HTTPConnection(*self.target, timeout=60)
        connection.request(
            self.command, self.path, body, {**headers, "Content-Length": str(len(body))}
        )
        answer = connection.getresponse()
        content = answer.read()
        self._count(body, answer.status, content)
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        said = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", said or str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _count(self, body: bytes, status: int, content: bytes) -> None:
        target = self.headers.get(_TARGET, "")
        kind = kind_of(self.command, self.path, target)
        counted: dict[str, float] = {kind: 1}
        if kind.startswith("s3"):
            counted |= {"s3_bytes_up": len(body), "s3_bytes_down": len(content)}
        elif kind == "dynamodb_requests":
            if target.removeprefix(_DYNAMODB) in _WRITES:
                # A write that was refused is billed as well.
                counted["write_units"] = write_units(content) if status == _OK else 1
            elif status == _OK:
                counted["read_units"] = read_units(json.loads(body), content)
        self.counts.add(counted)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815


def main() -> None:
    """Be the proxy until standard input ends."""
    _Handler.target = sys.argv[1], int(sys.argv[2])
    _Handler.counts = _Counts()
    server = ThreadingHTTPServer((LOOPBACK, 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    for _ in sys.stdin:
        print(_Handler.counts.as_json(), flush=True)


if __name__ == "__main__":
    main()
