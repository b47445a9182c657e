"""A command that waits for an answer that never comes, and is stopped twice."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from chromaseal.testing.command_line import TIMEOUT_S, command_line, environment
from chromaseal.testing.warm_start import FOREGROUND

pytestmark = pytest.mark.slow


def test_the_second_ctrl_c_ends_a_request_that_nobody_answers(tmp_path: Path) -> None:
    """Python does not hear of the first one before the store's client gives up, in minutes."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        variables = {
            "AWS_ENDPOINT": f"http://127.0.0.1:{mute.getsockname()[1]}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        process = subprocess.Popen(
            [*FOREGROUND, *command_line("log", "notes", "--vault", "s3://bucket/vault")],
            env={**environment(tmp_path / "cache"), **variables},
            stderr=subprocess.PIPE,
            text=True,
        )
        mute.settimeout(TIMEOUT_S)
        asked, _ = mute.accept()
        with asked, process:
            for _ in range(100):
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
                    break
            process.kill()
            assert process.stderr is not None
            assert process.stderr.read().startswith("interrupted: ")
    assert process.returncode == 130
