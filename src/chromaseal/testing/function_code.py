"""The zip that a function of an emulator runs: a few lines that lead to this installation."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from chromaseal.testing import function_start


def thin_package(disks: Path, environment: Mapping[str, str]) -> bytes:
    """Pack what makes a process of the emulator's one of this installation.

    Args:
        disks: where each process makes a directory of its own, in place of Lambda's ``/tmp``.
        environment: variables of the process, over those that the template gives the function.
    """
    path = [str(Path(each).absolute()) for each in sys.path if each]
    given = {
        "python": sys.executable,
        "path": path,
        "disks": str(disks),
        # Children are begun as programs of their own.
        "environment": {"PYTHONPATH": os.pathsep.join(path), **environment},
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(function_start.__file__, "chromaseal/__init__.py")
        archive.writestr(f"chromaseal/{function_start.GIVEN}", json.dumps(given))
    return packed.getvalue()
