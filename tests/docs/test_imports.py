"""Importing is cheap: what a program does not use is not loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IMPORT_CEILING_S = 0.5
HEAVY = {"chromadb", "numpy", "onnxruntime", "obstore", "arro3", "rich", "typer", "zstandard"}
HELP_MAY_NOT = {"chromadb", "onnxruntime", "rapidocr", "PIL", "cv2", "pypdfium2", "tokenizers"}
EXECUTABLE = Path(sys.executable).with_name("chromaseal")


def imported_by(*arguments: str | Path) -> tuple[set[str], float]:
    """Give the top-level packages that a program imports, and seconds spent on importing."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    names: set[str] = set()
    total_us = 0
    for line in done.stderr.splitlines():
        if line.startswith("import time:") and "imported package" not in line:
            own_us, _, name = line.removeprefix("import time:").split("|")
            total_us += int(own_us)
            names.add(name.strip().partition(".")[0])
    return names, total_us / 1e6


def test_importing_the_package_is_cheap() -> None:
    """``import chromaseal`` loads nothing heavy and stays under its ceiling."""
    names, duration_s = imported_by("-c", "import chromaseal")
    assert "chromaseal" in names
    assert not names & HEAVY
    assert duration_s < IMPORT_CEILING_S


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["compact", "--help"]])
def test_asking_for_help_loads_no_engine(command: list[str]) -> None:
    """Help and version answer without ChromaDB, models or image libraries."""
    names, _ = imported_by(EXECUTABLE, *command)
    assert "typer" in names
    assert not names & HELP_MAY_NOT


# A cold start waits for it, on top of what Python itself takes.
HANDLER_CEILING_S = 2.0
HANDLERS = {
    "on_receipt_uploaded": HELP_MAY_NOT | {"sqlalchemy", "typer", "rich", "obstore"},
    "on_run_changed": HELP_MAY_NOT | {"sqlalchemy", "typer", "rich", "obstore", "numpy"},
    "on_runs_waiting": HELP_MAY_NOT | {"sqlalchemy", "typer", "rich", "obstore"},
    "on_schedule": HELP_MAY_NOT | {"sqlalchemy", "typer", "rich", "obstore"},
    "on_version_published": HELP_MAY_NOT | {"sqlalchemy", "typer", "rich", "obstore"},
}


def test_every_handler_has_a_ceiling() -> None:
    """Whoever adds a function says what it may load."""
    folder = Path(__file__).parents[2] / "src/chromaseal/entrypoints/functions"
    assert {path.stem for path in folder.glob("on_*.py")} == HANDLERS.keys()


@pytest.mark.parametrize("name", HANDLERS)
def test_a_function_starts_quickly(name: str) -> None:
    """Nothing that only some events need is loaded before one of them comes."""
    module = f"chromaseal.entrypoints.functions.{name}"
    names, _ = imported_by("-c", f"import {module}")
    assert "aws_lambda_powertools" in names
    assert not names & HANDLERS[name]
    # In a fresh checkout the first one compiles, which the image has done when it was built.
    _, duration_s = imported_by("-c", f"import {module}")
    assert duration_s < HANDLER_CEILING_S
