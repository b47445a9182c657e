"""A directory -> its files and who has its database locked, asked for by a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from chromaseal.adapters.chroma import lock_question
from chromaseal.seal.lock_words import PENDING, RESERVED, SHARED_FIRST, SHARED_LAST
from chromaseal.seal.locks import Blocking, FileSeen, Probed
from chromaseal.seal.quiet import DATABASE

_ASKED: Final = (
    f"PENDING:{PENDING}:1",
    f"RESERVED:{RESERVED}:1",
    f"SHARED:{SHARED_FIRST}:{SHARED_LAST - SHARED_FIRST + 1}",
)
_TIMEOUT_S: Final = 30.0


def probe(directory: Path) -> Probed:
    """Ask about a directory's files; none is opened in this process."""
    # Isolated and without site-packages: the question needs neither, and starting is all it costs.
    question = [sys.executable, "-I", "-S", lock_question.__file__]
    command = [*question, str(directory.absolute()), DATABASE, *_ASKED]
    try:
        done = subprocess.run(  # noqa: S603 - our own file
            command, capture_output=True, check=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.SubprocessError as error:
        return Probed({}, problem=f"its files could not be looked at: {error}")
    answer = json.loads(done.stdout)
    files = {name: FileSeen(*seen) for name, seen in answer.pop("files").items()}
    locks = {name: Blocking(*lock) for name, lock in answer.pop("locks", {}).items()}
    return Probed(files, locks=locks, **answer)
