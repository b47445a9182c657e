"""A writer that was killed between ChromaDB's two transactions: its directory is repaired whole."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromaseal.errors import Damaged
from chromaseal.repair.directory import repair_directory
from chromaseal.repair.equipment import Equipment
from chromaseal.seal.examine import examine
from chromaseal.seal.quiet import DATABASE
from chromaseal.seal.verdict import Level
from chromaseal.testing.corpus.mending import content, same

pytestmark = pytest.mark.slow
ADD, UPDATE, UPSERT, DELETE = range(4)
# A purged log and a pending one, so that the tables are needed.
MAKE = """
import sys, chromadb, numpy as np
client = chromadb.PersistentClient(sys.argv[1])
hnsw = {"sync_threshold": 100, "batch_size": 10}
notes = client.create_collection("notes", embedding_function=None, configuration={"hnsw": hnsw})
chance = np.random.default_rng(7)
for first in (0, 150):
    ids = [f"r{n}" for n in range(first, first + (150 if not first else 20))]
    notes.upsert(
        ids=ids, embeddings=chance.standard_normal((len(ids), 8)).astype(np.float32),
        documents=[f"note {n}" for n in ids], metadatas=[{"n": n, "old": 1.5} for n in ids],
    )
client.close()
"""
OPEN = """
import sys, chromadb
client = chromadb.PersistentClient(sys.argv[1])
print(client.get_collection("notes", embedding_function=None).count())
client.close()
"""
# What is logged last: operation, id, whether it has a vector, what it gives.
ENTRIES: tuple[tuple[int, str, bool, Mapping[str, Any]], ...] = (
    (UPSERT, "new", True, {"chroma:document": "a new one", "x": 0.1, "tags": ["a", "b"]}),
    (ADD, "r1", True, {"chroma:document": "is there already"}),
    (ADD, "added", True, {"chroma:document": "added"}),
    (UPDATE, "r2", False, {"old": None, "later": True}),
    (UPDATE, "nobody", True, {"n": "of no record"}),
    (UPSERT, "r3", True, {"chroma:document": "another text"}),
    (DELETE, "r4", False, {}),
    (DELETE, "added", False, {}),
)


def run(program: str, directory: Path) -> None:
    """Run a program of a user of ChromaDB's; when it is over, nothing is open."""
    subprocess.run([sys.executable, "-c", program, str(directory)], check=True)


def log(directory: Path) -> None:
    """Write entries as a writer does that is killed before it brings them into the tables."""
    chance = np.random.default_rng(9)
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        newest, topic = db.execute("SELECT max(seq_id), topic FROM embeddings_queue").fetchone()
        for seq_id, (operation, record_id, has_vector, values) in enumerate(ENTRIES, newest + 1):
            vector = chance.standard_normal(8).astype("<f4").tobytes() if has_vector else None
            encoding = "FLOAT32" if has_vector else None
            db.execute(
                "INSERT INTO embeddings_queue (seq_id, operation, topic, id, vector, encoding,"
                " metadata) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(seq_id, operation, topic, record_id, vector, encoding),
                    json.dumps(values) if values else None,
                ),
            )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give a directory whose writer was killed."""
    run(MAKE, tmp_path / "chroma")
    log(tmp_path / "chroma")
    return tmp_path / "chroma"


def test_what_was_only_logged_is_brought_back(directory: Path, equipment: Equipment) -> None:
    """Repair gives exactly the records that ChromaDB itself has after it has opened a copy."""
    truth = shutil.copytree(directory, directory.with_name("truth"))
    run(OPEN, truth)
    verdict = examine(
        directory,
        Level.QUICK,
        sandbox=equipment.sandbox,
        open_files=equipment.open_files,
        clock=equipment.clock,
    )
    (told,) = (each.evidence for each in verdict.failed if each.check == "log")
    assert "8 entries that are not in the tables yet: their writer was killed" in told
    repaired = repair_directory(directory, equipment)
    assert any("8 entries of the log" in source for source in repaired.sources)
    found, wanted = content(directory), content(truth)
    assert found.keys() == wanted.keys()
    assert "new" in found
    assert not {"r4", "added", "nobody"} & found.keys()
    assert [i for i in found if not same(found[i], wanted[i], "l2")] == []


def test_a_lost_row_is_not_made_of_what_its_last_entry_gives(
    directory: Path, equipment: Equipment
) -> None:
    """Where a row is gone that the tables had, an entry that changed it does not stand for it."""
    with closing(sqlite3.connect(directory / DATABASE)) as db, db:
        newest = db.execute("SELECT max(seq_id) FROM embeddings_queue").fetchone()[0]
        # As if all had been applied, and one row of it lost.
        db.execute("UPDATE max_seq_id SET seq_id = ? WHERE seq_id = ?", (newest, newest - 8))
        db.execute("DELETE FROM embeddings WHERE embedding_id = 'r3'")
    with pytest.raises(Damaged) as caught:
        repair_directory(directory, equipment)
    assert caught.value.kind == "cannot-repair"
