"""The engine works with its own dependencies alone, and the receipts front says what it lacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_engine_needs_only_the_core_dependencies(tmp_path: Path) -> None:
    """Without the extra's packages the engine imports, writes, compacts and reads."""
    script = Path(__file__).with_name("core_alone.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr[-3000:]
