"""A stand-in for AWS's runtime client, as a program: one function, event for event.

Run as a file by a bare Python, with the functions' code where ``PYTHONPATH`` says. In the image
``awslambdaric`` does the same.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import urllib.error
import urllib.request

GONE = 410


class Invocation:
    """What is handed to the handler beside the event.

    Args:
        request_id: of the invocation.
        end_s: when its time is over, in seconds since the epoch.
    """

    function_name = "function"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:function"

    def __init__(self, request_id: str, end_s: float) -> None:
        self.aws_request_id = request_id
        self._end_s = end_s

    def get_remaining_time_in_millis(self) -> int:
        """Tell how long it may go on."""
        return max(0, int((self._end_s - time.time()) * 1000))  # noqa: TID251 - a program alone


def main() -> None:
    """Answer events until there are none."""
    module, _, name = sys.argv[1].rpartition(".")
    handler = getattr(importlib.import_module(module), name)
    base = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
    while True:
        try:
            with urllib.request.urlopen(f"{base}/next") as told:  # noqa: S310 - loopback
                event, headers = json.load(told), told.headers
        except urllib.error.HTTPError as error:
            if error.code != GONE:
                raise
            break
        request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        end_s = int(headers["Lambda-Runtime-Deadline-Ms"]) / 1000
        answer = json.dumps(handler(event, Invocation(request_id, end_s))).encode()
        urllib.request.urlopen(f"{base}/{request_id}/response", answer).close()  # noqa: S310


if __name__ == "__main__":
    main()
