"""The job "merge-on": deltas into a private directory that stays open for the next ones.

For a process of its own per directory, which is asked without forking. The directory is closed by
the process's end; until then nobody but a job "copy-live" reads it.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
from chromadb.api import ClientAPI
from numpy.typing import NDArray

from chromaseal.adapters.chroma.client import opened
from chromaseal.adapters.chroma.lost_vectors import waiting_vectors
from chromaseal.adapters.chroma.merge import merge_into
from chromaseal.sandbox import Plain, Progress

# Closed by the process's end.
_held: Final = ExitStack()


def run(request: Plain, progress: Progress) -> Plain:
    """Merge deltas as the job "merge" does, and leave the directory open.

    Args:
        request: of the job "merge"; every request of a process names the same ``directory``.
        progress: called with merged and all records.

    Returns:
        As the job "merge".
    """
    client, waiting = _kept_open(Path(request["directory"]), request["collection"])
    done = merge_into(client, request, progress, waiting)
    # The index in memory has them now, and that is what becomes files.
    waiting.clear()
    return done


@functools.cache
def _kept_open(
    directory: Path, collection: str
) -> tuple[ClientAPI, dict[str, NDArray[np.float32]]]:
    directory.mkdir(exist_ok=True)
    waiting = waiting_vectors(directory, collection)
    return _held.enter_context(opened(directory)), waiting
