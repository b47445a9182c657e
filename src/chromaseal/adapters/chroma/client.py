"""Opening ChromaDB the one way that chromaseal does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chromadb
from chromadb.api.client import Client
from chromadb.config import Settings

from chromaseal.telemetry.emit import event, is_observed, step


@contextmanager
def opened(directory: Path) -> Iterator[Client]:
    """Open a private copy; opening is a write, whatever is done with the client."""
    with step("open client", directory=str(directory), pid=os.getpid()):
        client = chromadb.PersistentClient(
            str(directory), settings=Settings(anonymized_telemetry=False)
        )
    if not isinstance(client, Client):
        raise TypeError("PersistentClient gave something other than a client")
    try:
        yield client
    finally:
        with step("close client", directory=str(directory), pid=os.getpid()):
            client.close()
        if is_observed():
            left = _descriptors_in(directory)
            event("client closed", directory=str(directory), descriptors_left=left)


def _descriptors_in(directory: Path) -> int:
    """Count this process's descriptors in a directory: ``close()`` leaves some open."""
    inside, found = str(directory.resolve()) + os.sep, 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(each.readlink()).startswith(inside)
    return found
