"""Mistakes that are planted into the product are found: by the simulator, or by a test of its own.

One that survives is a hole in the tests. ``docs/simulation.md`` has the table.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from chromaseal.testing.simulation.campaign import LENGTHS
from chromaseal.testing.simulation.hunt import STEP_LIMIT, Find, hunt
from chromaseal.testing.simulation.planted import BUGS
from chromaseal.testing.simulation.planting import Bug, planted

ROOT = Path(__file__).parents[2]
SIMULATED = [bug for bug in BUGS if not bug.test]
TESTED = [bug for bug in BUGS if bug.test]
# Found within a second, so that the simulator is seen to find something in every run of the tests.
QUICK = ("the pointer is put without If-Match", "a late run wins")
# What tests import is imported once; every mistake has a process of its own.
_EACH_IN_A_FORK = """
import contextlib, json, os, pathlib, sys
import pytest
import chromaseal.composition.engine, chromaseal.testing.mount_scene, chromaseal.testing.dynamodb
from chromaseal.testing.simulation.planted import BUGS
from chromaseal.testing.simulation.planting import planted
from chromaseal.testing.warm_start import server

server()
tested = [bug for bug in BUGS if bug.test]
asked = {bug.name: (planted(bug), [bug.test]) for bug in tested}
asked[""] = contextlib.nullcontext(), [bug.test for bug in tested]
endings = {}
for name, (with_mistake, tests) in asked.items():
    child = os.fork()
    if not child:
        ended = 99  # what is no test's failure must not look like one
        with contextlib.suppress(BaseException), with_mistake:
            ended = int(pytest.main(["-q", "-p", "no:cacheprovider", *tests]))
        os._exit(ended)  # the server of warm processes is its parent's
    endings[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
pathlib.Path(sys.argv[1]).write_text(json.dumps(endings))
"""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_place_is_still_there(bug: Bug) -> None:
    """A mistake can be planted, and is gone afterwards."""
    with planted(bug):
        pass
    with planted(bug):
        pass


def test_a_place_that_is_gone_is_told() -> None:
    """A mistake that cannot be planted any more is no mistake that is not found."""
    bug = Bug("none", "settle.swap", "what is not there", "anything")
    with pytest.raises(LookupError, match="what is not there"), planted(bug):
        pass


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.name in QUICK], ids=lambda b: b.name)
def test_a_mistake_is_found(bug: Bug) -> None:
    """The simulator finds it, and finds nothing once it is gone."""
    assert hunt(bug).invariant
    assert not hunt(bug, is_planted=False, limit=3_000).invariant


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_mistake_is_found() -> None:
    """The simulator finds every mistake that is its own to find, within a number of steps.

    What found it when the page was written is played first: the search takes minutes.
    """
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(hunt, bug, first=seed_of(bug)) for bug in SIMULATED]
        finds: list[Find] = [each.result() for each in waiting]
    for find in finds:
        print(f"{find.name}: {find.invariant or 'survived'}, {find.steps} steps")
    survived = [find.name for find in finds if not find.invariant]
    assert survived == []
    assert max(find.steps for find in finds) < STEP_LIMIT + 2 * max(LENGTHS)


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Give how pytest ended on the tests that are named, by mistake; without any by ``""``."""
    told = tmp_path_factory.mktemp("planted") / "endings.json"
    ended = subprocess.run(
        [sys.executable, "-c", _EACH_IN_A_FORK, str(told)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    endings: dict[str, int] = json.loads(told.read_text())
    return endings


@pytest.mark.slow
@pytest.mark.parametrize("bug", TESTED, ids=lambda bug: bug.name)
def test_what_the_simulator_cannot_find_a_test_does(bug: Bug, endings: dict[str, int]) -> None:
    """The test that is named for it fails with the mistake."""
    assert endings[bug.name] == pytest.ExitCode.TESTS_FAILED


@pytest.mark.slow
def test_those_tests_hold_without_mistakes(endings: dict[str, int]) -> None:
    """What finds a mistake that is planted finds none otherwise."""
    assert endings[""] == pytest.ExitCode.OK


def test_the_page_names_every_mistake() -> None:
    """``docs/simulation.md`` has a line for each; ``make simulate-planted`` writes it anew."""
    assert [row[0] for row in table()] == [bug.name for bug in BUGS]


def table() -> list[list[str]]:
    """Read the page's table: by row, what each column says."""
    page = (ROOT / "docs/simulation.md").read_text()
    rows = page.partition("<!-- planted: begin -->")[2].partition("<!-- planted: end -->")[0]
    return [[each.strip() for each in row.split(" | ")] for row in _lines(rows)]


def _lines(rows: str) -> list[str]:
    return [row.removeprefix("| ").removesuffix("|") for row in rows.splitlines()[3:]]


def seed_of(bug: Bug) -> int | None:
    """Give the seed that found a mistake when the page was written."""
    told = {row[0]: row[-1] for row in table()}.get(bug.name, "")
    return int(told) if told else None
