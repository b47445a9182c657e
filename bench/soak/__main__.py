"""Play a soak and write what it showed: ``make soak``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from bench.layers import RESULTS
from bench.soak.figures import table
from bench.soak.plan import Plan
from bench.soak.soaking import soak


def main() -> int:
    """Play, tell, write."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keeps what everybody wrote; a new one")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    load = f"a load of {os.getloadavg()[0]:.1f} before"
    plan = Plan(chosen.seconds, chosen.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = chosen.folder or Path(scratch)
        folder.mkdir(exist_ok=True)
        soaked = soak(plan, folder, lambda words: print(words, flush=True))
    load += f" and of {os.getloadavg()[2]:.1f} in the quarter of an hour to its end"
    found = soaked.figures
    print(table(found))
    for problem in soaked.problems:
        print(f"WRONG: {problem}", file=sys.stderr)
    if soaked.problems:
        return 1
    machine = (
        f"{plan.writers} writers, {plan.compactors} compactors, {plan.followers} followers, "
        f"{os.cpu_count()} processors, {load}; seed {plan.seed}."
    )
    chosen.results.mkdir(exist_ok=True)
    text = f"# Soak\n\nWritten by `make soak`. {machine}\n\n{table(found)}\n"
    (chosen.results / "soak.md").write_text(text)
    (chosen.results / "soak.json").write_text(json.dumps(found.plain(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
