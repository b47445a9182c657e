"""What is told has a name in the tables, and the page says what the tables do."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chromaseal.telemetry.names import EVENTS, FACTS, MEASURES, OPERATIONS, STEPS

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src/chromaseal"
TABLES = {"step": STEPS, "operation": OPERATIONS, "event": EVENTS}
# Steps whose name is handed on by the stopwatch of a larger piece of work.
TIMED = {"_step", "step"}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Give every call that tells something, with what it calls and the name that it gives."""
    for path in SOURCE.rglob("*.py"):
        if "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                function = node.func
                called = function.attr if isinstance(function, ast.Attribute) else ""
                called = function.id if isinstance(function, ast.Name) else called
                table = "step" if called in TIMED else called
                if table in TABLES and isinstance(node.args[0].value, str):
                    yield table, node.args[0].value, node


def test_every_name_is_in_its_table_and_used() -> None:
    """A step, operation or event that is told of has a line in the tables, and the other way."""
    told: dict[str, set[str]] = {"step": set(), "operation": set(), "event": {"more left out"}}
    for table, name, _ in calls():
        told[table].add(name)
    assert {table: sorted(names) for table, names in told.items()} == {
        table: sorted(names) for table, names in TABLES.items()
    }


def test_every_fact_has_a_meaning() -> None:
    """A fact that is told of something has a line in the table of facts."""
    told = {keyword.arg for _, _, call in calls() for keyword in call.keywords if keyword.arg}
    assert sorted(told - FACTS.keys()) == []
    measured = {fact for measure in MEASURES for fact in (measure.fact, *measure.by) if fact}
    assert sorted(measured - FACTS.keys() - {"step", "operation"}) == []


def test_the_page_is_made_of_the_tables() -> None:
    """``docs/telemetry.md`` is what ``python docs/generate_telemetry.py`` writes."""
    generator = _generator()
    assert generator.PLACE.read_text() == generator.page()


def _generator() -> Any:  # noqa: ANN401 - a module
    path = ROOT / "docs/generate_telemetry.py"
    spec = importlib.util.spec_from_file_location("generate_telemetry", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
