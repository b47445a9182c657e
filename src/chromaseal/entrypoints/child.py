"""The child process: jobs come in as lines of JSON, answers go out as lines of JSON.

``python -m chromaseal.entrypoints.child [MODULE ...]`` imports the modules once, then forks for
every job, so that a job starts in milliseconds and its exit closes whatever it opened. A job
asked for with ``"fork": false`` runs in this process, which then keeps its models loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from typing import IO

from chromaseal.errors import ChromasealError
from chromaseal.sandbox import Job, Plain
from chromaseal.telemetry.emit import observe
from chromaseal.telemetry.observer import Silent
from chromaseal.telemetry.relay import RelayObserver

# Where each job is; imported when it is asked for.
JOBS = {
    "ask": "chromaseal.adapters.chroma.questions",
    "ask-stock": "chromaseal.entrypoints.question_job",
    "compare": "chromaseal.adapters.chroma.comparison",
    "copy-live": "chromaseal.adapters.chroma.live_copy",
    "merge": "chromaseal.adapters.chroma.merge",
    "merge-on": "chromaseal.adapters.chroma.merge_on",
    "prove": "chromaseal.adapters.chroma.proof",
    "replay": "chromaseal.adapters.chroma.replay",
    "salvage": "chromaseal.adapters.chroma.salvage",
    "verify": "chromaseal.adapters.chroma.verification",
    "verify-changes": "chromaseal.adapters.chroma.verification_of_changes",
    "write-on": "chromaseal.entrypoints.application_job",
    "read-delta": "chromaseal.adapters.chroma.delta_directory",
    "read-receipt": "chromaseal.entrypoints.receipt_job",
}
_PR_SET_PDEATHSIG = 1
# Whoever asked is to be the first to end a job, and says why.
_GRACE_S = 2.0
_IN_BETWEEN = (b'{"progress"', b'{"told"')


def main() -> None:
    """Answer requests until standard input ends."""
    # Libraries print; the answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for module in sys.argv[1:]:
        importlib.import_module(module)
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        if request["fork"]:
            _run_in_fork(request, answers)
        else:
            _limit(request["limits"])
            # Whoever asked watches over the time, and may be killed meanwhile.
            signal.setitimer(signal.ITIMER_REAL, request["limits"]["timeout_s"] + _GRACE_S)
            _run(request, answers)
            signal.setitimer(signal.ITIMER_REAL, 0)


def _run(request: Plain, answers: IO[str]) -> None:
    def send(answer: Plain) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    watching = RelayObserver(send) if request["observe"] else Silent()
    try:
        observe(watching)
        job: Job = importlib.import_module(JOBS[request["job"]]).run
        result = job(request["request"], lambda done, total: send({"progress": [done, total]}))
    except ChromasealError as error:
        send({"failed": error.as_json(), "class": type(error).__name__})
    # The boundary of a process: whatever happened is reported to the other side.
    # A panic of a Rust library is no Exception.
    except BaseException as error:  # noqa: BLE001
        # What it was comes first: lists of runs show the first line of a reason.
        what = "".join(traceback.format_exception_only(error)).strip()
        send({"crashed": f"{what}\n{traceback.format_exc()}"})
    else:
        send({"result": result})


def _run_in_fork(request: Plain, answers: IO[str]) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_child(request, reading, writing)
    os.close(writing)
    died = _forward(reading, pid, request["limits"]["timeout_s"], answers)
    if died:
        answers.write(json.dumps({"died": died}) + "\n")


def _be_child(request: Plain, reading: int, writing: int) -> None:
    os.close(reading)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _limit(request["limits"])
    with os.fdopen(writing, "w") as answers:
        _run(request, answers)
    # No interpreter shutdown: exit handlers belong to the parent.
    os._exit(0)


def _limit(limits: Plain) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_size_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _forward(reading: int, pid: int, timeout_s: float, answers: IO[str]) -> str:
    """Pass a child's answers on; say how it died if it gave no last one.

    The last answer waits until the child has exited: whoever has it may rely on everything
    being closed, and may send the next request, which is read only after that.
    """
    deadline = time.monotonic() + timeout_s
    kept = b""
    while True:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([reading, sys.stdin.fileno()], [], [], max(left, 0))
        if reading in ready:
            piece = os.read(reading, 1 << 20)
            if not piece:
                break
            kept = _pass_progress(kept + piece, answers)
        elif not ready or _input_ended():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(reading)
            if ready:
                sys.exit()
            return f"timeout of {timeout_s:.0f} s"
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return signal.Signals(-code).name
    if not kept.endswith(b"\n"):
        return f"exit {code} without an answer"
    answers.write(kept.decode())
    answers.flush()
    return ""


def _pass_progress(lines: bytes, answers: IO[str]) -> bytes:
    """Write the lines that are no last answer; give back what is left."""
    while lines.startswith(_IN_BETWEEN) and b"\n" in lines:
        line, _, lines = lines.partition(b"\n")
        answers.write(line.decode() + "\n")
        answers.flush()
    return lines


def _input_ended() -> bool:
    # Only one job runs at a time, so readable input means that the other side is gone.
    return not os.read(sys.stdin.fileno(), 1)


if __name__ == "__main__":
    main()
