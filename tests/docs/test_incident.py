"""The page about the incident names checks, log lines, commands and tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from chromaseal.entrypoints.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "incident.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if "`tests/" in line]
STEPS = 7


def test_every_step_has_its_points() -> None:
    """Each of the seven steps is there, and each point has a line, a command and a test."""
    assert re.findall(r"\*\*(\d)\.", PAGE) == [str(step + 1) for step in range(STEPS)]
    for point, check, line, command, test in ROWS:
        assert all((point, check, line, command, test))


@pytest.mark.parametrize("test", [row[4] for row in ROWS])
def test_each_test_is_there(test: str) -> None:
    """What is said to fail when a point does not hold exists."""
    path, name = test.strip("`").split("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_each_log_line_is_told() -> None:
    """What the log is said to say is in the list of what is told."""
    page = (ROOT / "docs" / "telemetry.md").read_text()
    told = set(re.findall(r"^\| ([a-z ]+) \|", page, re.MULTILINE))
    named = {name for row in ROWS for name in re.findall(r"`([^`]+)`", row[2])}
    assert named - told == set()


def test_each_command_is_one() -> None:
    """What is to be typed begins with a command."""
    known = set(getattr(get_command(app), "commands", {}))
    named = {row[3].strip("`").split()[1] for row in ROWS}
    assert named - known == set()


def test_each_place_in_the_code_is_there() -> None:
    """The functions that the page points to exist."""
    for path, symbol in re.findall(r"`([a-z_/]+\.py)` `([A-Za-z_]+)`", PAGE):
        assert f"def {symbol}(" in (ROOT / "src" / "chromaseal" / path).read_text()
