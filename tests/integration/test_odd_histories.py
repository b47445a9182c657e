"""Odd vectors and settings raise no alarm: what hnswlib makes of them is not damage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromaseal.adapters.linux.open_files import ProcOpenFiles
from chromaseal.adapters.process.sandbox import ProcessSandbox, SandboxPool
from chromaseal.clock import SystemClock
from chromaseal.seal.examine import examine
from chromaseal.seal.verdict import Level

pytestmark = pytest.mark.slow
MODULES = ("chromaseal.adapters.chroma.verification", "chromaseal.adapters.chroma.questions")
MAKE = """
import sys, chromadb, numpy as np
client = chromadb.PersistentClient(sys.argv[1])
chance = np.random.default_rng(5)

def fill(name, vectors, **settings):
    hnsw = {"sync_threshold": 100, **settings}
    notes = client.create_collection(name, embedding_function=None, configuration={"hnsw": hnsw})
    notes.upsert(ids=[f"r{n}" for n in range(len(vectors))], embeddings=vectors.astype(np.float32))
    return notes

def normal(*shape):
    return chance.standard_normal(shape)

for space in ("l2", "cosine", "ip"):
    fill(f"one-number-{space}", normal(1500, 1), space=space)
    fill(f"all-the-same-{space}", np.ones((1500, 8)), space=space)
    fill(f"six-values-{space}", np.repeat(normal(6, 32), 250, axis=0), space=space)
    fill(f"zeros-{space}", np.zeros((300, 8)), space=space)
    long = fill(f"long-{space}", normal(300, 16) * 1e25, space=space)
    long.upsert(ids=[f"s{n}" for n in range(40)], embeddings=normal(40, 16) * 1e25)
    fill(f"long-and-pending-{space}", normal(20, 16) * 1e25, space=space)
    # Pending entries: ChromaDB makes links for them in memory.
    tiny = fill(f"tiny-{space}", normal(300, 16) * 1e-18, space=space)
    tiny.upsert(ids=[f"r{n}" for n in range(20)], embeddings=normal(20, 16) * 1e-18)
fill("norms-ip", np.abs(normal(2000, 64)) * np.linspace(0.1, 10, 2000)[:, None], space="ip")
# The log has forgotten that a record went, and then an update of it, which changes nothing.
gone = fill("updated-when-gone", normal(150, 4))
gone.delete(ids=["r0"])
gone.upsert(ids=[f"s{n}" for n in range(150)], embeddings=normal(150, 4))
gone.update(ids=["r0"], metadatas=[{"n": 6}])
gone.upsert(ids=["r0"], embeddings=normal(1, 4), metadatas=[{"z": 1}])
few = {"max_neighbors": 2, "ef_construction": 2, "ef_search": 2}
fill("few-links", normal(1000, 16), **few)
fill("few-links-never-flushed", normal(900, 16), **few, sync_threshold=1000)
client.close()
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxPool]:
    """Give two warm processes."""
    pool = SandboxPool([ProcessSandbox(preload=MODULES) for _ in range(2)])
    yield pool
    pool.close()


@pytest.mark.timeout(300)
def test_odd_vectors_raise_no_alarm(tmp_path: Path, sandbox: SandboxPool) -> None:
    """Equal, endless and vanishing vectors, and indexes with hardly a link, are healthy."""
    directory = tmp_path / "chroma"
    subprocess.run([sys.executable, "-c", MAKE, str(directory)], check=True)
    verdict = examine(
        directory,
        Level.DEEP,
        sandbox=sandbox,
        open_files=ProcOpenFiles(),
        clock=SystemClock(),
    )
    assert [(each.check, each.evidence) for each in verdict.failed] == []
