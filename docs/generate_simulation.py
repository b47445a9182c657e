"""Writes the table of ``docs/simulation.md``: what was planted, and what found it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from chromaseal.testing.simulation.hunt import Find, hunt
from chromaseal.testing.simulation.planted import BUGS
from chromaseal.testing.simulation.planting import Bug

PAGE = Path(__file__).with_name("simulation.md")
BEGIN, END = "<!-- planted: begin -->\n", "<!-- planted: end -->\n"


def row(bug: Bug, find: Find | None) -> str:
    """Write one line of the table."""
    place, found = f"`{bug.place}`", f"`{bug.test}`"
    steps = seed = ""
    if find is not None:
        found, steps = find.invariant or "**survived**", f"{find.steps:,}"
        seed = "" if find.seed is None else str(find.seed)
    planted = line_of(bug).replace("|", "\\|")
    return f"| {bug.name} | {place} | {planted} | {found} | {steps} | {seed} |"


def line_of(bug: Bug) -> str:
    """Give the first line that differs, as it was planted."""
    right = bug.right.splitlines()
    for line in bug.wrong.splitlines():
        if line not in right:
            return f"`{line.strip()}`"
    for line in right:
        if line not in bug.wrong.splitlines():
            return f"without `{line.strip()}`"
    return f"`{bug.wrong.splitlines()[0].strip()}` first"


def table() -> Iterator[str]:
    """Plant everything, and tell what was found."""
    simulated = [bug for bug in BUGS if not bug.test]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        finds = {find.name: find for find in pool.map(hunt, simulated)}
    yield "| mistake | place | as planted | found by | steps | seed |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for bug in BUGS:
        yield row(bug, finds.get(bug.name))


def main() -> None:
    """Write the table into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + "\n".join(table()) + "\n" + END + after)


if __name__ == "__main__":
    main()
