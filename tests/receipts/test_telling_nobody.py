"""Models run here, and nobody is told that they do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = {
    "minilm": """
from chromaseal.adapters.minilm.embedding import MiniLmEmbedder
MiniLmEmbedder().embed(["TOTAL"])
""",
    "rapidocr": """
import numpy as np
from chromaseal.adapters.rapidocr.ocr import RapidOcrEngine
RapidOcrEngine().read(np.full((64, 64, 3), 255, np.uint8))
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_notes_are_made_for_the_engines_maker(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime keeps what it is going to send in a file, from the moment it is loaded."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for each in ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.delenv(each, raising=False)
    subprocess.run([sys.executable, "-c", PROGRAMS[name]], check=True, timeout=120)
    assert [each.name for each in tmp_path.rglob("*onnxruntime*")] == []
