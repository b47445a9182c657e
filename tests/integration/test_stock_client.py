"""A copy is a plain ChromaDB directory: a program without chromaseal opens it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from chromaseal.delta.model import Changes
from chromaseal.testing.oracle import Rows, change
from chromaseal.testing.records import record, upserts
from chromaseal.vault import Vault

STOCK = """
import json, sys
import chromadb

client = chromadb.PersistentClient(sys.argv[1])
collection = client.get_collection("notes")
everything = collection.get(include=["embeddings", "documents", "metadatas"])
nearest = collection.query(
    query_embeddings=everything["embeddings"], n_results=1, include=["distances"]
)
print(json.dumps({
    "count": collection.count(),
    "ids": everything["ids"],
    "embeddings": [[float(x) for x in vector] for vector in everything["embeddings"]],
    "documents": everything["documents"],
    "metadatas": everything["metadatas"],
    "nearest": [ids[0] for ids in nearest["ids"]],
    "distances": [found[0] for found in nearest["distances"]],
    "text": collection.get(where_document={"$contains": "three"})["ids"],
    "where": collection.get(where={"page": 2})["ids"],
    "modules": [name for name in sys.modules if name.startswith("chromaseal")],
}))
"""


class OpenVault(Protocol):
    """What the fixture ``vault_at`` gives; see ``tests/conftest.py``."""

    def __call__(self, url: str = "") -> Vault:
        """Open a vault."""
        ...


def ask(directory: Path) -> dict[str, Any]:
    """Let a stock client in a process of its own say all that it finds."""
    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(directory)], check=True, capture_output=True
    )
    return dict(json.loads(done.stdout))


def check(answer: dict[str, Any], expected: Rows) -> None:
    """Compare what a stock client found with what was written."""
    assert answer["modules"] == []
    assert answer["count"] == len(expected)
    assert sorted(answer["ids"]) == sorted(expected)
    columns = (answer[name] for name in ("ids", "embeddings", "documents", "metadatas"))
    for record_id, vector, document, metadata in zip(*columns, strict=True):
        wanted = expected[record_id]
        assert np.array_equal(np.array(vector, np.float32), wanted.embedding)
        assert document == wanted.document
        assert (metadata or {}) == dict(wanted.metadata)
    assert answer["nearest"] == answer["ids"]
    assert max(map(abs, answer["distances"])) < 1e-6


def publish(vault: Vault, *steps: Changes) -> Rows:
    """Bring each of the steps into a version; give what the last one holds."""
    expected: Rows = {}
    for step in steps:
        vault.write({"notes": step})
        vault.compact()
        change(expected, step)
    return expected


@pytest.mark.slow
def test_a_stock_client_sees_what_was_written(vault_at: OpenVault, tmp_path: Path) -> None:
    """Count, get, query and text search agree with what was written, vector for vector."""
    vault = vault_at()
    expected = publish(
        vault,
        upserts(record("a", 1, document="one", page=1), record("b", 2, document=None, tags=["x"])),
        upserts(record("c", 3, document="three ünï", page=2, price=1.5, paid=False)),
        Changes(updates={"a": {"page": 2}}, deletes=["b"]),
    )
    vault.open_copy("notes", tmp_path / "copy")
    answer = ask(tmp_path / "copy")
    check(answer, expected)
    assert answer["text"] == ["c"]
    assert sorted(answer["where"]) == ["a", "c"]


@pytest.mark.slow
def test_a_stock_client_sees_a_flushed_index(vault_at: OpenVault, tmp_path: Path) -> None:
    """The same where ChromaDB has moved the vectors into its HNSW files."""
    vault = vault_at()
    many = [record(f"r{number}", number) for number in range(1_200)]
    expected = publish(vault, upserts(*many), upserts(record("r3", 5_000), deletes=["r4"]))
    vault.open_copy("notes", tmp_path / "copy")
    assert (tmp_path / "copy" / "chroma.sqlite3").is_file()
    check(ask(tmp_path / "copy"), expected)


@pytest.mark.slow
def test_using_a_copy_changes_no_version(vault_at: OpenVault, tmp_path: Path) -> None:
    """A client may do with its copy what it likes; the next copy is as published."""
    vault = vault_at()
    expected = publish(vault, upserts(record("a", 1)))
    vault.open_copy("notes", tmp_path / "spoiled")
    (tmp_path / "spoiled" / "chroma.sqlite3").write_bytes(b"mine now")
    vault.open_copy("notes", tmp_path / "fresh")
    check(ask(tmp_path / "fresh"), expected)
