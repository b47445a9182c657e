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
