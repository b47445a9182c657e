"""What a verdict costs: ``make bench-verify``.

Each level looks at directories that are in the machine's memory, five times; medians. The child
processes have started before; a first look from the command line takes about a second more.
Beside it what publishing asks for: every check but ChromaDB's own answers, and the multiset
hash over all records.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from bench.data import cached_directory, size_bytes
from bench.layers import RESULTS
from bench.stats import markdown_table
from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.seal.examine import examine
from chromaseal.seal.sealed import seal
from chromaseal.seal.verdict import Level
from chromaseal.seal.verify import verify

_RECORDS = (50_000, 200_000)
_TURNS = 5
_BOUNDS_S = {Level.QUICK: 1.0, Level.DEEP: 10.0}
_BOUND_BYTES = 160e6
_MODULES = ("chromaseal.adapters.chroma.verification", "chromaseal.adapters.chroma.questions")


def _look(directory: Path, level: Level, sandbox: SandboxPool) -> float:
    verdict = examine(
        directory, level, sandbox=sandbox, open_files=ProcOpenFiles(), clock=SystemClock()
    )
    if not verdict.sound:
        raise SystemExit(f"{directory} is not sound: {verdict.failed}")
    return verdict.duration_s


def _publishable(directory: Path, sandbox: SandboxPool) -> float:
    sealed = seal(directory, open_files=ProcOpenFiles(), clock=SystemClock())
    start = time.perf_counter()
    verify(sealed, sandbox=sandbox)
    return time.perf_counter() - start


def _rows(records: int, sandbox: SandboxPool) -> list[list[str]]:
    directory = cached_directory(records)
    size = size_bytes(directory)
    _look(directory, Level.QUICK, sandbox)
    rows = []
    for level in Level:
        turns = _TURNS if level is not Level.DEEP else 3
        duration_s = statistics.median(_look(directory, level, sandbox) for _ in range(turns))
        bound_s = _BOUNDS_S.get(level)
        rows.append(_row(records, size, level, duration_s, bound_s))
    duration_s = statistics.median(_publishable(directory, sandbox) for _ in range(3))
    rows.append(_row(records, size, "before publishing", duration_s, None))
    return rows


def _row(records: int, size: int, what: str, duration_s: float, bound_s: float | None) -> list[str]:
    # The bounds are for 160 MB.
    bound = "" if bound_s is None else f"{bound_s * size / _BOUND_BYTES:.2f}"
    row = [f"{records:,}", f"{size / 1e6:.0f}", what, f"{duration_s:.2f}", bound]
    row.append(f"{size / duration_s / 1e6:,.0f}")
    print(" | ".join(row), flush=True)
    return row


def main() -> None:
    """Measure and write the table."""
    sandbox = SandboxPool([ProcessSandbox(preload=_MODULES) for _ in range(2)])
    sandbox.start()
    try:
        rows = [row for records in _RECORDS for row in _rows(records, sandbox)]
    finally:
        sandbox.close()
    header = ["records", "MB", "level", "seconds", "bound", "MB/s"]
    text = f"# Verification\n\nWritten by `make bench-verify`.\n\n{markdown_table(header, rows)}\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "verify.md").write_text(text)


if __name__ == "__main__":
    main()
