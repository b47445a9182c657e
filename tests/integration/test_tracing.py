"""What functions tell X-Ray: a segment each, of the calls and not of what they were given."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

PAYLOAD = "a-secret-that-nobody-may-read"
TRACE = "1-67891233-abcdef012345678912345678"
PARENT = "53995c3f42cd8ad8"
# As Lambda's own process does it: the daemon's address and the trace are in its environment.
CALL = """
import json, sys
from chromaseal.clock import SystemClock
from chromaseal.testing.aws_events import InvocationContext, stream_record
from chromaseal.entrypoints.functions import on_run_changed

item = {"PK": "OTHER#a", "SK": "b", "note": sys.argv[1]}
event = {"Records": [stream_record(None, item, number=1, created_s=1.0)]}
context = InvocationContext("invocation-1", SystemClock())
for _ in range(2):
    on_run_changed.handler(event, context)
"""


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    """Give what hears segments in place of X-Ray's daemon."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as hears:
        hears.bind(("127.0.0.1", 0))
        hears.settimeout(10)
        yield hears


def call(daemon_port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    """Let a function handle an event in a process of its own."""
    queues = {f"{name}_QUEUE_URL": f"https://queues/{name}" for name in ("LINES", "WORDS")}
    lambdas = {
        "AWS_XRAY_DAEMON_ADDRESS": f"127.0.0.1:{daemon_port}",
        "LAMBDA_TASK_ROOT": "/var/task",
        "_X_AMZN_TRACE_ID": f"Root={TRACE};Parent={PARENT};Sampled=1",
        "POWERTOOLS_SERVICE_NAME": "on-run-changed",
        "AWS_SECRET_ACCESS_KEY": PAYLOAD,
    }
    return subprocess.run(
        [sys.executable, "-c", CALL, PAYLOAD],
        env={**os.environ, **queues, **lambdas, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def heard(daemon: socket.socket, count: int) -> list[dict[str, object]]:
    """Give segments, without the line that stands before each."""
    return [json.loads(daemon.recv(65_536).decode().partition("\n")[2]) for _ in range(count)]


def test_every_call_is_a_segment_of_its_trace(daemon: socket.socket) -> None:
    """With the handler's name and the first call marked; neither event nor answer is in it."""
    done = call(daemon.getsockname()[1])
    assert done.returncode == 0, done.stderr
    segments = heard(daemon, 2)
    assert {(each["trace_id"], each["parent_id"]) for each in segments} == {(TRACE, PARENT)}
    assert {each["name"] for each in segments} == {"## handler"}
    cold = [each["annotations"]["ColdStart"] for each in segments]  # type: ignore[index]
    assert cold == [True, False]
    assert "batchItemFailures" not in json.dumps(segments)
    assert PAYLOAD not in json.dumps(segments)


def test_no_daemon_is_no_error() -> None:
    """A function does its work where nobody listens, and where traces are switched off."""
    assert call(9, POWERTOOLS_TRACE_DISABLED="true").returncode == 0
    assert call(9).returncode == 0
