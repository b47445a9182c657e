"""What functions of an emulator begin with: this installation takes the place of a code package.

``testing/function_code.py`` puts this file into a zip as ``chromaseal/__init__.py``, with what it
is given beside it. The emulator's worker imports a handler from there with the emulator's own
Python; what it finds is the chromaseal, the packages and the program of whoever made the zip.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

GIVEN = "given.json"
_PACKAGE = "chromaseal"


def begin(given_path: Path) -> None:
    """Become a process of the installation that the zip was made by."""
    given = json.loads(given_path.read_text(encoding="utf-8"))
    sys.executable = given["python"]
    sys.path[:] = given["path"]
    # Each process has a disk of its own, as each execution environment has.
    disk = tempfile.mkdtemp(dir=given["disks"])
    os.environ.update({**given["environment"], "TMPDIR": disk, "CHROMASEAL_CACHE": f"{disk}/cache"})
    # What the worker has imported belongs to the emulator, in versions of its own.
    for name, module in list(sys.modules.items()):
        if "site-packages" in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]
    del sys.modules[_PACKAGE]
    importlib.import_module(_PACKAGE)


if __name__ == _PACKAGE:
    begin(Path(__file__).with_name(GIVEN))
