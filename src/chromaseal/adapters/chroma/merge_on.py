"""The job "merge-on": deltas into a private directory that stays open for the next ones.

For a process of its own per directory, which is asked without forking. The directory is closed by
the process's end; until then nobody but a job "copy-live" reads it.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final

from chromadb.api import ClientAPI

from chromaseal.adapters.chroma.client import opened
from chromaseal.adapters.chroma.merge import merge_into
from chromaseal.sandbox import Plain, Progress

_held: Final = ExitStack()
_clients: Final[dict[Path, ClientAPI]] = {}


def run(request: Plain, progress: Progress) -> Plain:
    """Merge deltas as the job "merge" does, and leave the directory open.

    Args:
        request: of the job "merge"; every request of a process names the same ``directory``.
        progress: called with merged and all records.

    Returns:
        As the job "merge".
    """
    directory = Path(request["directory"])
    if directory not in _clients:
        directory.mkdir(exist_ok=True)
        _clients[directory] = _held.enter_context(opened(directory))
    return merge_into(_clients[directory], request, progress)
