"""A process that runs one of the functions, as Lambda keeps one from an event to the next.

``python -m bench.costs.function NAME`` calls the handler for every line on standard input, an event
each, and answers with the seconds, and with those of processors that it and its children had; those
of the first begin with the process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

from chromaseal.clock import SystemClock
from chromaseal.testing.aws_events import InvocationContext

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _fields(process: Path) -> list[str]:
    return (process / "stat").read_text(encoding="ascii").rpartition(")")[2].split()


def _age_s() -> float:
    """Give the seconds since this process began."""
    uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return uptime_s - float(_fields(Path("/proc/self"))[19]) / _TICKS_PER_S


def processor_s(process: Path = Path("/proc/self")) -> float:
    """Give the seconds of processors that a process had, with its children, gone ones too."""
    own_s = sum(map(float, _fields(process)[11:15])) / _TICKS_PER_S
    begun = " ".join(each.read_text(encoding="ascii") for each in process.glob("task/*/children"))
    return own_s + sum(processor_s(Path("/proc") / child) for child in begun.split())


def main() -> None:
    """Answer events until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    # Logs go where the caller has standard error.
    os.dup2(2, 1)
    module = importlib.import_module(f"chromaseal.entrypoints.functions.{sys.argv[1]}")
    before_s, had_s = _age_s(), 0.0
    for number, line in enumerate(sys.stdin):
        start = time.perf_counter()
        answer = module.handler(
            json.loads(line), InvocationContext(f"bench-{os.getpid()}-{number}", SystemClock())
        )
        duration_s = before_s + time.perf_counter() - start
        now_s = processor_s()
        took = {"duration_s": duration_s, "processor_s": now_s - had_s}
        before_s, had_s = 0.0, now_s
        answers.write(json.dumps({"took": took, "answer": answer}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
