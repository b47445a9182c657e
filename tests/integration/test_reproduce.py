"""chromaseal reproduce, in small: the old ways damage copies, this way does not."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from chromaseal.composition.reproduction import laboratory
from chromaseal.reproduction.application import Plan
from chromaseal.reproduction.examination import Examination
from chromaseal.reproduction.experiment import Laboratory
from chromaseal.reproduction.old_ways import copy_files
from chromaseal.reproduction.running import RunningApplication
from chromaseal.reproduction.trial import Way
from chromaseal.testing.command_line import chromaseal, command_line, environment
from chromaseal.testing.warm_start import FOREGROUND

pytestmark = pytest.mark.slow

PLAN = Plan(records=300)
COPIES = 2
FEW = ("--records", "100")
PATIENCE_S = 30


@pytest.fixture
def here() -> Iterator[Laboratory]:
    """Give a laboratory; nothing is left of it."""
    with laboratory() as made:
        yield made
    assert not made.folder.exists()


def test_the_command_shows_the_incident(tmp_path: Path) -> None:
    """Every way is tried as often as asked for; of this way none is bad; bad copies are kept.

    Every trial is printed; ``chromaseal verify`` refuses the bad copies.
    """
    kept, cache = tmp_path / "bad", tmp_path / "cache"
    arguments = ("--copies", str(COPIES), "--records", "500", "--keep", str(kept), "--json")
    answer = chromaseal("reproduce", *arguments, cache=cache)
    print(answer.out, answer.errors)
    assert answer.exit_code == 0
    ways = {Way(each["way"]): each for each in answer.only("way")}
    trials = answer.only("trial")
    assert ways.keys() == set(Way)
    assert sum(each["tried"] for each in ways.values()) == len(trials)
    assert all(ways[way]["tried"] == COPIES for way in (Way.UPLOAD, Way.FAST_COPY, Way.REPLICATE))
    assert not [way for way, each in ways.items() if way.ours and each["bad"]]
    check_old_ways(ways)
    bad = [(Way(each["way"]), each["number"]) for each in trials if each["bad"]]
    names = {f"{way}-{number:02d}" for way, number in bad if way is not Way.POINTER_PUT}
    assert {path.name for path in kept.iterdir()} == {*names, Way.POINTER_PUT}
    # What two compactors left is sound, and lacks runs.
    for name in names:
        verdict = chromaseal("verify", str(kept / name), "--deep", cache=cache)
        assert verdict.exit_code == 6, verdict


def check_old_ways(ways: Mapping[Way, Mapping[str, Any]]) -> None:
    """Check what does not depend on who is faster."""
    first, last = ways[Way.HALF_UPLOAD_POINTER_FIRST], ways[Way.HALF_UPLOAD_POINTER_LAST]
    assert first["bad"] == first["tried"] > 0
    assert last["bad"] == 0
    # Both compactors of a round begin from one version, so one of their runs is lost.
    assert ways[Way.POINTER_PUT]["bad"] * 2 == ways[Way.POINTER_PUT]["tried"]


def test_a_copy_between_batches_is_bad(here: Laboratory) -> None:
    """Files that are copied while batches and flushes go on are never one state."""
    live, copy = here.folder / "live", here.folder / "copy"
    examination = Examination(here.vault.parts, PLAN, here.folder)
    with RunningApplication(here.sandbox, live, PLAN) as application:

        def wait_for_batches(copied_bytes: int) -> None:
            del copied_bytes
            # One may be under way; a whole one with its flush comes after it.
            application.wait_for(application.batches + 2)

        copy_files(live, copy, wait_for_batches)
    found = examination.look(copy)
    print(found)
    assert found.bad
    assert found.failed


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    """A folder for bad copies that has something in it is refused before anything is done."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/mine").touch()
    arguments = ("--keep", str(tmp_path / "bad"), "--json")
    answer = chromaseal("reproduce", *arguments, cache=tmp_path / "cache")
    assert answer.exit_code == 5
    assert [each["error"] for each in answer.events] == ["directory-not-empty"]


def processes_with(text: str) -> list[str]:
    """Give the processes that have a text in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_runs_on(tmp_path: Path, how: signal.Signals) -> None:
    """Whoever stops the command stops its application; only a killed one leaves files behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    command = [*FOREGROUND, *command_line("reproduce", *FEW, "--json")]
    surroundings = {**environment(tmp_path / "cache"), "TMPDIR": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=surroundings, text=True) as running:
        assert running.stdout is not None
        assert json.loads(running.stdout.readline())["event"] == "trial"
        assert len(processes_with(str(folder))) > 2
        running.send_signal(how)
        running.stdout.read()
    deadline_s = time.monotonic() + PATIENCE_S
    while (left := processes_with(str(folder))) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert left == []
    if how is not signal.SIGKILL:
        assert running.returncode == 130
        assert list(folder.iterdir()) == []
