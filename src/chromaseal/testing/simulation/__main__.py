"""Play seeds for as long as asked, or one seed again: ``make simulate``."""

from __future__ import annotations

import itertools
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from chromaseal.clock import SystemClock
from chromaseal.testing.simulation.campaign import SEED_VARIABLE, Totals, explain, play

_PROCESSES = 2
_LONGEST_BATCH_S = 60.0


def batch(first: int, duration_s: float) -> Totals:
    """Play every ``_PROCESSES``-th seed from one on, for that long."""
    clock = SystemClock()
    end_s = clock.monotonic_s() + duration_s
    return play(itertools.count(first, _PROCESSES), goes_on=lambda _: clock.monotonic_s() < end_s)


def main() -> int:
    """Play, tell every minute, and say how to see a failure again."""
    seed = os.environ.get(SEED_VARIABLE, "")
    if seed:
        return _tell(play([int(seed)]))
    clock, totals = SystemClock(), Totals()
    left_s = float(os.environ.get("SECONDS_TO_SIMULATE", "inf"))
    first = int(clock.now().timestamp()) * 1_000
    with ProcessPoolExecutor(_PROCESSES, mp_context=get_context("spawn")) as pool:
        while left_s > 0 and totals.failed is None:
            duration_s = min(left_s, _LONGEST_BATCH_S)
            waiting = [pool.submit(batch, first + n, duration_s) for n in range(_PROCESSES)]
            for each in waiting:
                totals.merge(each.result())
            first += 1_000_000
            left_s -= duration_s
            sys.stdout.write(f"{totals}\n")
    return _tell(totals)


def _tell(totals: Totals) -> int:
    sys.stdout.write(f"{totals}\n")
    if totals.failed is None:
        return 0
    sys.stdout.write(f"{explain(totals.failed)}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
