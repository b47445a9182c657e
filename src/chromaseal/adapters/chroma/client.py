"""Opening ChromaDB the one way that chromaseal does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chromadb
from chromadb.api.client import Client
from chromadb.config import Settings


@contextmanager
def opened(directory: Path) -> Iterator[Client]:
    """Open a private copy; opening is a write, whatever is done with the client."""
    client = chromadb.PersistentClient(
        str(directory), settings=Settings(anonymized_telemetry=False)
    )
    if not isinstance(client, Client):
        raise TypeError("PersistentClient gave something other than a client")
    try:
        yield client
    finally:
        client.close()
